// One function for each system call. It returns ERROR_IO_PENDING if a completion follows at the port.
#include "iocp.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

namespace {

// A hint to the disk's driver, for later reads and writes, not for those that it has.
// https://learn.microsoft.com/windows/win32/api/winbase/ne-winbase-priority_hint
void set_priority_hint(File* file, int rank) {
  const PRIORITY_HINT hints[] = {IoPriorityHintNormal, IoPriorityHintNormal, IoPriorityHintLow, IoPriorityHintVeryLow};
  int hint = hints[rank];
  if (file->type != FILE_TYPE_DISK || file->hint.exchange(hint) == hint) return;
  struct alignas(8) {
    FILE_IO_PRIORITY_HINT_INFO info;
  } wanted = {{hints[rank]}};
  // An error is ignored: the lane is the promise, not this.
  SetFileInformationByHandle(file->handle, FileIoPriorityHintInfo, &wanted, sizeof wanted.info);
}

// Programs that have the old file open keep it. NTFS, from Windows 10 1607 on.
// https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ns-ntifs-_file_rename_information
bool rename_as_posix_does(const wchar_t* from, const wchar_t* to) {
  const DWORD kReplaceIfExists = 1, kPosixSemantics = 2;
  const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  HANDLE handle =
      CreateFileW(from, FILE_GENERIC_WRITE | DELETE, share, nullptr, OPEN_EXISTING, FILE_FLAG_WRITE_THROUGH, nullptr);
  if (handle == INVALID_HANDLE_VALUE) return false;
  const size_t name_bytes = wcslen(to) * sizeof(wchar_t);
  const size_t size = sizeof(FILE_RENAME_INFO) + name_bytes;
  auto* info = static_cast<FILE_RENAME_INFO*>(calloc(1, size));
  *reinterpret_cast<DWORD*>(info) = kReplaceIfExists | kPosixSemantics;  // Flags, in the place of ReplaceIfExists
  info->FileNameLength = static_cast<DWORD>(name_bytes);
  memcpy(info->FileName, to, name_bytes);
  const auto kFileRenameInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(22);
  bool is_done = SetFileInformationByHandle(handle, kFileRenameInfoEx, info, static_cast<DWORD>(size));
  if (is_done) FlushFileBuffers(handle);
  free(info);
  CloseHandle(handle);
  return is_done;
}

void set_position(Operation* operation) {
  operation->overlapped.Offset = static_cast<DWORD>(operation->position);
  operation->overlapped.OffsetHigh = static_cast<DWORD>(operation->position >> 32);
}

}  // namespace

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew
DWORD create_file(Operation* operation) {
  // Others may read, write, rename and delete it, as in node:fs.
  const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  HANDLE handle = CreateFileW(operation->path, operation->access, share, nullptr, operation->disposition,
                              operation->flags, nullptr);
  if (handle == INVALID_HANDLE_VALUE) return GetLastError();
  File* file = new File();
  file->handle = handle;
  file->type = GetFileType(handle);
  file->access = operation->access;
  file->flags = operation->flags;
  file->is_on_port =
      file->type != FILE_TYPE_CHAR && CreateIoCompletionPort(handle, operation->environment->port, 0, 0) != nullptr;
  file->hint = IoPriorityHintNormal;
  operation->file = file;
  return ERROR_SUCCESS;
}

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
DWORD read_file(Operation* operation) {
  set_priority_hint(operation->file, operation->rank);
  set_position(operation);
  if (ReadFile(operation->file->handle, operation->memory, operation->length, nullptr, &operation->overlapped))
    return ERROR_IO_PENDING;
  // A part of a longer message is a warning, and completes at the port like a success.
  DWORD error = GetLastError();
  return error == ERROR_MORE_DATA ? ERROR_IO_PENDING : error;
}

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile
DWORD write_file(Operation* operation) {
  set_priority_hint(operation->file, operation->rank);
  set_position(operation);
  if (WriteFile(operation->file->handle, operation->memory, operation->length, nullptr, &operation->overlapped))
    return ERROR_IO_PENDING;
  return GetLastError();
}

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-flushfilebuffers
DWORD flush_file_buffers(Operation* operation) {
  return FlushFileBuffers(operation->file->handle) ? ERROR_SUCCESS : GetLastError();
}

// For 4 GiB and more it returns 4 GiB - 1, which is too large for the caller anyway.
// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-getfilesizeex
DWORD get_file_size(Operation* operation) {
  LARGE_INTEGER size;
  if (!GetFileSizeEx(operation->file->handle, &size)) return GetLastError();
  operation->bytes = size.QuadPart < MAXDWORD ? static_cast<DWORD>(size.QuadPart) : MAXDWORD;
  return ERROR_SUCCESS;
}

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-setfileinformationbyhandle
DWORD set_end_of_file(Operation* operation) {
  FILE_END_OF_FILE_INFO info;
  info.EndOfFile.QuadPart = operation->position;
  bool is_done = SetFileInformationByHandle(operation->file->handle, FileEndOfFileInfo, &info, sizeof info);
  return is_done ? ERROR_SUCCESS : GetLastError();
}

// Replaces what is there, and is on the disk when it returns. ReplaceFile keeps more of the old file, but removes it
// first.
// https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexw
DWORD move_file(Operation* operation) {
  if (rename_as_posix_does(operation->path, operation->target)) return ERROR_SUCCESS;
  const DWORD flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
  return MoveFileExW(operation->path, operation->target, flags) ? ERROR_SUCCESS : GetLastError();
}

// https://learn.microsoft.com/windows/win32/api/handleapi/nf-handleapi-closehandle
DWORD close_handle(Operation* operation) { return CloseHandle(operation->handle) ? ERROR_SUCCESS : GetLastError(); }

// A descriptor of the same file for node:fs, which does not know our port: without FILE_FLAG_OVERLAPPED. A deleted file
// cannot be opened again; then it is our own handle, which is good enough for fstat.
// https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-reopenfile
int reopen(File* file) {
  const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  HANDLE handle = ReOpenFile(file->handle, file->access, share, file->flags & 0xffff0000 & ~FILE_FLAG_OVERLAPPED);
  if (handle == INVALID_HANDLE_VALUE) {
    HANDLE process = GetCurrentProcess();
    if (!DuplicateHandle(process, file->handle, process, &handle, 0, FALSE, DUPLICATE_SAME_ACCESS))
      return uv_translate_sys_error(static_cast<int>(GetLastError()));
  }
  int fd = uv_open_osfhandle(handle);
  if (fd >= 0) return fd;
  CloseHandle(handle);
  return UV_EMFILE;
}
