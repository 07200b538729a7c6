// Faults on Windows: a page that cannot be read from its disk or server is an exception at the access, also from
// JavaScript. The handler replaces the view with memory of the process, which has the parts of the file that can still
// be read, notes it, and lets the access go on. Only what the handler needs is global.
#include "pages.h"

#include <string.h>
#include <windows.h>

struct Guard {
  Mapping* mapping;
  Guard* next;
};

extern "C" char kiruna_copy[], kiruna_copied[];

namespace {

SRWLOCK lock = SRWLOCK_INIT;  // for the guards, and for the handler's work
Guard* guards = nullptr;

// One instruction, which stops at the byte that it cannot copy: the handler recognizes its address. Returns what is
// left.
__attribute__((noinline, noclone)) size_t copy(void* into, const void* from, size_t bytes) {
  asm volatile(".globl kiruna_copy, kiruna_copied\n"
               "kiruna_copy: rep movsb\n"
               "kiruna_copied:"
               : "+D"(into), "+S"(from), "+c"(bytes)
               :
               : "memory");
  return bytes;
}

Mapping* mapping_at(const char* address) {
  for (Guard* guard = guards; guard != nullptr; guard = guard->next) {
    Mapping* mapping = guard->mapping;
    if (mapping->base == nullptr) continue;
    if (address >= mapping->base && address < mapping->base + mapping->mapped_bytes) return mapping;
  }
  return nullptr;
}

MEMORY_BASIC_INFORMATION region_at(const void* address) {
  MEMORY_BASIC_INFORMATION region = {};
  VirtualQuery(address, &region, sizeof region);
  return region;
}

void note(Mapping* mapping, const char* address) {
  LARGE_INTEGER size;
  int64_t at = mapping->offset + (address - mapping->data());
  if (GetFileSizeEx(mapping->file, &size) && size.QuadPart <= at) mapping->was_short.store(true);
  uintptr_t none = 0;
  mapping->torn_at.compare_exchange_strong(none, reinterpret_cast<uintptr_t>(address));
}

bool retire(Mapping* mapping) {
  MEMORY_BASIC_INFORMATION region = region_at(mapping->base);
  if (region.Type == MEM_MAPPED)
    UnmapViewOfFile(mapping->base);
  else if (region.State != MEM_FREE)
    return true;
  // Another thread may be given these addresses now: Windows has one call for both only since 1803.
  void* reserved = VirtualAlloc(mapping->base, mapping->mapped_bytes, MEM_RESERVE, PAGE_READWRITE);
  mapping->base = static_cast<char*>(reserved);
  return reserved != nullptr;
}

// Makes a page of the process, with the file's bytes, or zeros if they cannot be read.
bool fill(Mapping* mapping, char* page) {
  if (VirtualAlloc(page, page_bytes(), MEM_COMMIT, PAGE_READWRITE) == nullptr) return false;
  if (mapping->file == nullptr) return true;
  int64_t at = mapping->offset + (page - mapping->data());
  OVERLAPPED overlapped = {};
  overlapped.Offset = static_cast<DWORD>(at);
  overlapped.OffsetHigh = static_cast<DWORD>(at >> 32);
  overlapped.hEvent = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  if (overlapped.hEvent == nullptr) return true;
  DWORD count = 0;
  if (!ReadFile(mapping->file, page, page_bytes(), nullptr, &overlapped) && GetLastError() != ERROR_IO_PENDING)
    count = 0;
  else if (!GetOverlappedResult(mapping->file, &overlapped, &count, TRUE))
    count = 0;
  memset(page + count, 0, page_bytes() - count);
  CloseHandle(overlapped.hEvent);
  return true;
}

// After a store into a view of access 'read', the view is a copy-on-write one, at the same addresses. It is not mapped
// like this from the start, because Windows commits memory for all of such a view.
bool allow_stores(Mapping* mapping) {
  HANDLE section = CreateFileMappingW(mapping->file, nullptr, PAGE_WRITECOPY, 0, 0, nullptr);
  if (section == nullptr) return false;
  int64_t from = mapping->offset - mapping->lead_bytes;
  UnmapViewOfFile(mapping->base);
  void* base = MapViewOfFileEx(section, FILE_MAP_COPY, static_cast<DWORD>(from >> 32), static_cast<DWORD>(from),
                               mapping->mapped_bytes, mapping->base);
  CloseHandle(section);
  return base != nullptr;
}

// Returns whether the access can be made again.
bool cover(char* address, bool is_store) {
  Mapping* mapping = mapping_at(address);
  if (mapping == nullptr) return false;
  char* page = address - reinterpret_cast<uintptr_t>(address) % page_bytes();
  MEMORY_BASIC_INFORMATION region = region_at(page);
  if (is_store && region.Type == MEM_MAPPED && region.Protect == PAGE_READONLY && allow_stores(mapping)) return true;
  char byte;
  if (copy(&byte, page, 1) == 0) return true;  // another thread has done it
  if (mapping->file != nullptr) note(mapping, address);
  return retire(mapping) && fill(mapping, page);
}

LONG CALLBACK on_exception(EXCEPTION_POINTERS* pointers) {
  const EXCEPTION_RECORD* record = pointers->ExceptionRecord;
  // Wine has only the second one, for both.
  if (record->ExceptionCode != EXCEPTION_IN_PAGE_ERROR && record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
    return EXCEPTION_CONTINUE_SEARCH;
  if (pointers->ContextRecord->Rip == reinterpret_cast<uintptr_t>(kiruna_copy)) {
    pointers->ContextRecord->Rip = reinterpret_cast<uintptr_t>(kiruna_copied);
    return EXCEPTION_CONTINUE_EXECUTION;
  }
  DWORD saved_error = GetLastError();
  AcquireSRWLockExclusive(&lock);
  bool is_covered =
      cover(reinterpret_cast<char*>(record->ExceptionInformation[1]), record->ExceptionInformation[0] == 1);
  ReleaseSRWLockExclusive(&lock);
  SetLastError(saved_error);
  return is_covered ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

}  // namespace

size_t copy_guarded(void* into, const void* from, size_t bytes) {
  size_t left = copy(into, from, bytes);
  if (left == 0) return 0;
  // The handler may be putting other pages there, for another thread.
  AcquireSRWLockExclusive(&lock);
  size_t done = bytes - left;
  left = copy(static_cast<char*>(into) + done, static_cast<const char*>(from) + done, left);
  ReleaseSRWLockExclusive(&lock);
  return left;
}

bool retire_pages(Mapping* mapping) {
  AcquireSRWLockExclusive(&lock);
  bool is_retired = retire(mapping);
  ReleaseSRWLockExclusive(&lock);
  return is_retired;
}

void close_file(Mapping* mapping) {
  AcquireSRWLockExclusive(&lock);
  HANDLE file = mapping->file;
  mapping->file = nullptr;
  ReleaseSRWLockExclusive(&lock);
  if (file != nullptr) CloseHandle(file);
}

Guard* guard(Mapping* mapping) {
  Guard* guard = new Guard{mapping, nullptr};
  AcquireSRWLockExclusive(&lock);
  guard->next = guards;
  guards = guard;
  ReleaseSRWLockExclusive(&lock);
  return guard;
}

void unguard(Guard* guard) {
  AcquireSRWLockExclusive(&lock);
  Guard** place = &guards;
  while (*place != guard) place = &(*place)->next;
  *place = guard->next;
  ReleaseSRWLockExclusive(&lock);
  delete guard;
}

// It cannot be replaced, since handlers are a list here. It comes first, since others may end the process.
void install_fault_handler() {
  [[maybe_unused]] static const void* installed = [] {
    // Node unloads an addon with its last worker, but the handler has to stay.
    HMODULE self;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                       reinterpret_cast<LPCWSTR>(on_exception), &self);
    return AddVectoredExceptionHandler(1, on_exception);
  }();
}

size_t page_bytes() {
  static const size_t bytes = [] {
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    return size_t{system.dwPageSize};
  }();
  return bytes;
}
