// The system calls on Windows, as in posix.cc for other systems. The native threads make those of the first half, a
// step at a time; JavaScript's thread makes those of the second.
#include "../fault.h"
#include "../system.h"
#include "pages.h"

#include <sys/stat.h>
#include <uv.h>
#include <wchar.h>
#include <windows.h>

#include <psapi.h>

namespace {

// After this a more urgent request gets its turn.
constexpr size_t kSyncStep = 1 << 20;

// How many cached pages the JavaScript thread may copy: operations.ts asks for no more.
constexpr size_t kMostCachedPages = 17;

template <typename T> T min(T a, T b) { return a < b ? a : b; }

// A negative errno, also for errors that libuv has no number for.
int error_number(DWORD error) {
  switch (error) {
  case ERROR_USER_MAPPED_FILE:
    return UV_EBUSY;
  case ERROR_COMMITMENT_LIMIT:
  case ERROR_NO_SYSTEM_RESOURCES:
    return UV_ENOMEM;
  default:
    return uv_translate_sys_error(static_cast<int>(error));
  }
}

int last_error() { return error_number(GetLastError()); }

// A view begins at a multiple of this: 64 KiB.
size_t granularity_bytes() {
  SYSTEM_INFO system;
  GetSystemInfo(&system);
  return system.dwAllocationGranularity;
}

// Why pages cannot be read: the disk or the server has failed, or the file has become shorter on the server.
int fault_reason(const Mapping* mapping) { return is_torn(mapping) ? kTorn : static_cast<int>(UV_EIO); }

// Maps `bytes` of the file from `offset` on. Returns 0 or a negative errno.
// https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-mapviewoffile
int map_pages(Mapping* mapping) {
  if (mapping->bytes == 0) return 0;
  mapping->lead_bytes = mapping->offset % granularity_bytes();
  mapping->mapped_bytes = mapping->lead_bytes + mapping->bytes;
  const DWORD protections[] = {PAGE_READONLY, PAGE_WRITECOPY, PAGE_READWRITE};
  const DWORD accesses[] = {FILE_MAP_READ, FILE_MAP_COPY, FILE_MAP_WRITE};
  int access = static_cast<int>(mapping->access);
  HANDLE section = CreateFileMappingW(mapping->file, nullptr, protections[access], 0, 0, nullptr);
  if (section == nullptr) return last_error();
  int64_t from = mapping->offset - mapping->lead_bytes;
  void* base = MapViewOfFile(section, accesses[access], static_cast<DWORD>(from >> 32), static_cast<DWORD>(from),
                             mapping->mapped_bytes);
  int error = base == nullptr ? last_error() : 0;
  CloseHandle(section);  // the view holds it
  if (error != 0) return error;
  mapping->base = static_cast<char*>(base);
  install_fault_handler();
  mapping->guard = guard(mapping);
  return 0;
}

// Recognizes a device by its name: an open would already take an instance of a pipe. Returns 0 for what may be a file.
int64_t device_kind(const wchar_t* path) {
  const wchar_t* pipe = L"pipe\\";
  bool is_device = wcsncmp(path, L"\\\\.\\", 4) == 0;
  if ((is_device || wcsncmp(path, L"\\\\?\\", 4) == 0) && _wcsnicmp(path + 4, pipe, wcslen(pipe)) == 0) return S_IFIFO;
  return is_device ? S_IFCHR : 0;
}

// https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-flushviewoffile
int flush(Mapping* mapping, size_t from, size_t bytes) {
  // Another flush of the same pages may be under way, and there is no way to wait for it.
  for (int tries = 0; tries < 200; tries++) {
    if (FlushViewOfFile(mapping->base + from, bytes)) return 0;
    if (GetLastError() != ERROR_LOCK_VIOLATION) break;
    Sleep(1);
  }
  return last_error();
}

// New bytes are zeros, and have room on the disk, unless the file is sparse or compressed.
int set_end_of_file(HANDLE file, int64_t end) {
  FILE_END_OF_FILE_INFO info;
  info.EndOfFile.QuadPart = end;
  return SetFileInformationByHandle(file, FileEndOfFileInfo, &info, sizeof info) ? 0 : last_error();
}

// Windows does not truncate a mapped file, so the old view is unmapped first. If others have mapped the file too, this
// fails, and `made` is as long as before.
int shrink(Mapping* mapping, Mapping* made) {
  if (mapping->base != nullptr) retire_pages(mapping);
  int error = set_end_of_file(made->file, made->end());
  if (error != 0) made->bytes = mapping->bytes;
  int map_error = map_pages(made);
  if (map_error == 0) return error;
  mapping->torn_at.store(1);  // there is nothing left
  return map_error;
}

}  // namespace

int map_file(Request* request, Mapping* mapping) {
  const wchar_t* path = reinterpret_cast<const wchar_t*>(request->path);
  request->call = "mmap";
  request->found = device_kind(path);
  if (request->found != 0) return UV_ENODEV;
  request->call = "stat";
  DWORD attributes = GetFileAttributesW(path);
  if (attributes == INVALID_FILE_ATTRIBUTES) return last_error();
  request->call = "mmap";
  request->found = S_IFDIR;
  if (attributes & FILE_ATTRIBUTE_DIRECTORY) return UV_ENODEV;
  request->call = "open";
  // Others may read, write, rename and delete it, as in node:fs. Overlapped: no call on the file waits for another one.
  DWORD access = request->access == Access::kReadWrite ? GENERIC_READ | GENERIC_WRITE : GENERIC_READ;
  HANDLE file = CreateFileW(path, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                            OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
  if (file == INVALID_HANDLE_VALUE) return last_error();
  mapping->file = file;
  request->call = "mmap";
  DWORD type = GetFileType(file);
  request->found = type == FILE_TYPE_PIPE ? S_IFIFO : S_IFCHR;
  if (type != FILE_TYPE_DISK) return UV_ENODEV;
  request->call = "fstat";
  LARGE_INTEGER size;
  if (!GetFileSizeEx(file, &size)) return last_error();
  request->call = "mmap";
  int64_t left = size.QuadPart - request->offset;
  int64_t bytes = request->bytes == -1 ? left : request->bytes;
  if (left < 0 || bytes > left) {
    request->found = size.QuadPart;
    return kBeyondEnd;
  }
  mapping->offset = request->offset;
  mapping->bytes = static_cast<size_t>(bytes);
  mapping->access = request->access;
  return map_pages(mapping);
}

// The first call reads large pieces from the disk, but returns before the data is there: so each page is touched as
// well.
// https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-prefetchvirtualmemory
int populate(Mapping* mapping, int64_t offset, size_t bytes) {
  char* begin = mapping->base + ((mapping->lead_bytes + offset) & ~(page_bytes() - 1));
  char* end = mapping->data() + offset + bytes;
  WIN32_MEMORY_RANGE_ENTRY range = {begin, static_cast<SIZE_T>(end - begin)};
  PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);  // if it fails, the pages come one by one
  char byte;
  for (const char* page = begin; page < end; page += page_bytes())
    if (copy_guarded(&byte, page, 1) != 0) return fault_reason(mapping);
  return mapping->torn_at.load() == 0 ? 0 : fault_reason(mapping);
}

bool reads_pages(const Mapping*) { return true; }

// A view can only be unmapped as a whole. Before that its pages are removed from the process, which is most of the
// work: VirtualUnlock does so for pages that are not locked.
// https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-virtualunlock
void discard(Mapping* mapping, size_t from, size_t bytes) { VirtualUnlock(mapping->base + from, bytes); }

int end_mapping(Mapping* mapping) {
  if (mapping->base != nullptr) retire_pages(mapping);
  close_file(mapping);
  return 0;
}

// Little by little to the device, so that more urgent operations find no full queue there. What is left for
// FlushFileBuffers is the metadata and the device's own cache.
bool sync(Request* request) {
  Mapping* mapping = request->mapping;
  size_t bytes = min(mapping->mapped_bytes - request->done_bytes, kSyncStep);
  request->result = bytes == 0 || mapping->torn_at.load() != 0 ? 0 : flush(mapping, request->done_bytes, bytes);
  request->done_bytes += bytes;
  if (request->result != 0) return true;
  if (request->done_bytes < mapping->mapped_bytes) return false;
  if (!FlushFileBuffers(mapping->file)) request->result = last_error();
  // Checked only now: the disk may have failed for a store while this went on.
  if (mapping->torn_at.load() != 0)
    request->result = mapping->was_short.load() || has_shrunk(mapping) ? kTorn : static_cast<int>(UV_EIO);
  else if (has_shrunk(mapping))
    request->result = kTorn;
  return true;
}

int resize_file(Request* request, Mapping* made) {
  Mapping* mapping = request->mapping;
  LARGE_INTEGER size;
  if (!GetFileSizeEx(mapping->file, &size)) return last_error();
  if (size.QuadPart != mapping->end()) return size.QuadPart < mapping->end() ? kTorn : kNotAtEnd;
  HANDLE self = GetCurrentProcess();
  if (!DuplicateHandle(self, mapping->file, self, &made->file, 0, FALSE, DUPLICATE_SAME_ACCESS)) return last_error();
  made->offset = mapping->offset;
  made->bytes = static_cast<size_t>(request->bytes);
  made->access = mapping->access;
  if (made->bytes < mapping->bytes) return shrink(mapping, made);
  int error = set_end_of_file(made->file, made->end());
  if (error != 0) return error;
  error = map_pages(made);
  if (error != 0) set_end_of_file(made->file, mapping->end());  // while the old view is there, it may not be allowed
  return error;
}

// If the file now ends within the last page, the rest of that page is zeros, without a fault. But if the last copied
// byte is not zero, the file did not end before it, and the size need not be asked for, which would cost as much as all
// the rest.
int read_now(Mapping* mapping, int64_t offset, size_t bytes, char* into) {
  if (mapping->torn_at.load(std::memory_order_relaxed) != 0) return kTorn;
  const char* from = mapping->data() + offset;
  char last;
  if (copy_guarded(into, from, bytes) != 0 || copy_guarded(&last, from + bytes - 1, 1) != 0)
    return fault_reason(mapping);
  if (mapping->torn_at.load() != 0) return kTorn;
  return last == 0 && has_shrunk(mapping) ? kTorn : 0;
}

// Reads only pages in this process's working set; the system's cache is not asked.
int read_cached(Mapping* mapping, int64_t offset, size_t bytes, char* into) {
  PSAPI_WORKING_SET_EX_INFORMATION pages[kMostCachedPages];
  uintptr_t begin = reinterpret_cast<uintptr_t>(mapping->data() + offset) & ~(page_bytes() - 1);
  uintptr_t end = reinterpret_cast<uintptr_t>(mapping->data() + offset + bytes);
  size_t count = (end - begin + page_bytes() - 1) / page_bytes();
  if (count > kMostCachedPages) return UV_EAGAIN;
  for (size_t i = 0; i < count; i++) pages[i].VirtualAddress = reinterpret_cast<void*>(begin + i * page_bytes());
  if (!K32QueryWorkingSetEx(GetCurrentProcess(), pages, count * sizeof *pages)) return UV_EAGAIN;
  for (size_t i = 0; i < count; i++)
    if (!pages[i].VirtualAttributes.Valid) return UV_EAGAIN;
  return read_now(mapping, offset, bytes, into);
}

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile
int write_now(Mapping* mapping, int64_t offset, size_t bytes, const char* from) {
  // A write beyond the end would make the file longer again, with a hole in between.
  if (is_torn(mapping)) return kTorn;
  OVERLAPPED overlapped = {};
  overlapped.hEvent = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  if (overlapped.hEvent == nullptr) return last_error();
  int error = 0;
  for (size_t done = 0; done < bytes && error == 0;) {
    int64_t at = mapping->offset + offset + done;
    overlapped.Offset = static_cast<DWORD>(at);
    overlapped.OffsetHigh = static_cast<DWORD>(at >> 32);
    DWORD count = static_cast<DWORD>(min<size_t>(bytes - done, 1 << 30));
    if (!WriteFile(mapping->file, from + done, count, nullptr, &overlapped) && GetLastError() != ERROR_IO_PENDING)
      error = last_error();
    else if (!GetOverlappedResult(mapping->file, &overlapped, &count, TRUE))
      error = last_error();
    else
      done += count;
  }
  CloseHandle(overlapped.hEvent);
  return error;
}

bool has_shrunk(const Mapping* mapping) {
  LARGE_INTEGER size;
  return mapping->file != nullptr && GetFileSizeEx(mapping->file, &size) && size.QuadPart < mapping->end();
}

void unmap_now(Mapping* mapping) {
  if (mapping->guard != nullptr) unguard(mapping->guard);
  mapping->guard = nullptr;
  // After retire_pages it is memory of the process.
  if (mapping->base != nullptr && !VirtualFree(mapping->base, 0, MEM_RELEASE)) UnmapViewOfFile(mapping->base);
  mapping->base = nullptr;
  close_file(mapping);
}
