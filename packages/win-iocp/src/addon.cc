// The functions that native.ts declares. Each fills an operation and begins it; JavaScript holds the memory until
// `take`.
#include "iocp.h"

#include <stdlib.h>

namespace {

// Reads of less than this are begun on JavaScript's thread, where they cost little if the file is cached; urgent ones
// up to four times as much.
constexpr DWORD kLargeBytes = 64 * 1024;

Operation* new_operation(napi_env env, uint32_t slot, int rank, DWORD (*call)(Operation*)) {
  Operation* operation = operation_at(Environment::of(env), slot, rank);
  operation->call = call;
  return operation;
}

wchar_t* copy(Napi::String text) {
  size_t length = 0;
  napi_get_value_string_utf16(text.Env(), text, nullptr, 0, &length);
  auto* copied = static_cast<char16_t*>(malloc((length + 1) * sizeof(char16_t)));
  napi_get_value_string_utf16(text.Env(), text, copied, length + 1, &length);
  return reinterpret_cast<wchar_t*>(copied);
}

// createFile(slot, rank, path, access, disposition, flags)
void CreateFile_(Napi::Env env, uint32_t slot, int rank, Napi::String path, DWORD access, DWORD disposition,
                 DWORD flags) {
  Operation* operation = new_operation(env, slot, rank, create_file);
  operation->opens = true;
  operation->path = copy(path);
  operation->access = access;
  operation->disposition = disposition;
  operation->flags = flags;
  begin_in_pool(operation);
}

// A read of a pipe never waits. Cached bytes of a file are copied at once, and for some others the call may wait.
void begin_read(Operation* operation) {
  bool is_large = operation->length >= kLargeBytes * (operation->rank <= 1 ? 4 : 1);
  if (operation->file->type != FILE_TYPE_DISK || operation->file->flags & FILE_FLAG_NO_BUFFERING || !is_large)
    begin_here(operation);
  else
    begin_in_pool(operation);
}

void begin_waiting(Operation* operation, HANDLE handle) {
  operation->handle = handle;
  operation->call = operation->reads ? read_where_it_stands : write_where_it_stands;
  operation->waits = GetFileType(handle) != FILE_TYPE_DISK;
  begin_in_pool(operation);
}

// read(slot, rank, file, bytes, position)
void Read(Napi::Env env, uint32_t slot, int rank, File* file, Bytes bytes, int64_t position) {
  Operation* operation = new_operation(env, slot, rank, read_file);
  operation->reads = true;
  operation->file = file;
  take_memory(operation, bytes);
  operation->position = position;
  if (file->is_on_port)
    begin_read(operation);
  else
    begin_waiting(operation, file->handle);
}

// write(slot, rank, file, bytes, position)
// A write that makes a file longer is synchronous, whatever FILE_FLAG_OVERLAPPED says:
// https://learn.microsoft.com/troubleshoot/windows/win32/asynchronous-disk-io-synchronous
void Write(Napi::Env env, uint32_t slot, int rank, File* file, Bytes bytes, int64_t position) {
  Operation* operation = new_operation(env, slot, rank, write_file);
  operation->file = file;
  take_memory(operation, bytes);
  operation->position = position;
  if (!file->is_on_port)
    begin_waiting(operation, file->handle);
  else if (file->type == FILE_TYPE_DISK)
    begin_in_pool(operation);
  else
    begin_here(operation);
}

HANDLE handle_of(int fd) { return reinterpret_cast<HANDLE>(uv_get_osfhandle(fd)); }

// readFd(slot, rank, fd, bytes)
void ReadFd(Napi::Env env, uint32_t slot, int rank, int fd, Bytes bytes) {
  Operation* operation = new_operation(env, slot, rank, read_where_it_stands);
  operation->reads = true;
  take_memory(operation, bytes);
  begin_waiting(operation, handle_of(fd));
}

// writeFd(slot, rank, fd, bytes)
void WriteFd(Napi::Env env, uint32_t slot, int rank, int fd, Bytes bytes) {
  Operation* operation = new_operation(env, slot, rank, write_where_it_stands);
  take_memory(operation, bytes);
  begin_waiting(operation, handle_of(fd));
}

// seekBack(fd, length)
void SeekBack(Napi::Env, int fd, int64_t length) {
  LARGE_INTEGER distance;
  distance.QuadPart = -length;
  SetFilePointerEx(handle_of(fd), distance, nullptr, FILE_CURRENT);
}

// flush(slot, rank, file)
void Flush(Napi::Env env, uint32_t slot, int rank, File* file) {
  Operation* operation = new_operation(env, slot, rank, flush_file_buffers);
  operation->file = file;
  begin_in_pool(operation);
}

// fileSize(slot, rank, file)
void FileSize(Napi::Env env, uint32_t slot, int rank, File* file) {
  Operation* operation = new_operation(env, slot, rank, get_file_size);
  operation->file = file;
  begin_in_pool(operation);
}

// setEndOfFile(slot, rank, file, length)
void SetEndOfFile_(Napi::Env env, uint32_t slot, int rank, File* file, int64_t length) {
  Operation* operation = new_operation(env, slot, rank, set_end_of_file);
  operation->file = file;
  operation->position = length;
  begin_in_pool(operation);
}

// moveFile(slot, rank, from, to)
void MoveFile_(Napi::Env env, uint32_t slot, int rank, Napi::String from, Napi::String to) {
  Operation* operation = new_operation(env, slot, rank, move_file);
  operation->path = copy(from);
  operation->target = copy(to);
  begin_in_pool(operation);
}

// close(slot, rank, file): from now on the number may be another file's.
void Close(Napi::Env env, uint32_t slot, int rank, uint32_t file) {
  Operation* operation = new_operation(env, slot, rank, close_handle);
  operation->handle = give_up(Environment::of(env), file);
  begin_in_pool(operation);
}

// cancel(slot): boolean, whether it was found
bool Cancel(Napi::Env env, uint32_t slot) { return cancel(Environment::of(env)->operations[slot]); }

// take(pairs: Float64Array): how many pairs of a slot and its result
uint32_t Take(Napi::Env env, Napi::Float64Array pairs) {
  return take(Environment::of(env), pairs.Data(), static_cast<uint32_t>(pairs.ElementLength() / 2));
}

// descriptor(file): fd | a negative errno
int Descriptor(Napi::Env, File* file) { return reopen(file); }

// isDisk(file): boolean
bool IsDisk(Napi::Env, File* file) { return file->type == FILE_TYPE_DISK; }

Napi::Object Init(Napi::Env, Napi::Object exports) {
  using kiruna::method;
  kiruna::add_methods(exports, {{"setup", method<Environment::Setup>},
                                {"createFile", method<CreateFile_>},
                                {"read", method<Read>},
                                {"write", method<Write>},
                                {"readFd", method<ReadFd>},
                                {"writeFd", method<WriteFd>},
                                {"seekBack", method<SeekBack>},
                                {"flush", method<Flush>},
                                {"fileSize", method<FileSize>},
                                {"setEndOfFile", method<SetEndOfFile_>},
                                {"moveFile", method<MoveFile_>},
                                {"close", method<Close>},
                                {"cancel", method<Cancel>},
                                {"take", method<Take>},
                                {"descriptor", method<Descriptor>},
                                {"isDisk", method<IsDisk>},
                                {"ref", method<Environment::Ref>},
                                {"unref", method<Environment::Unref>}});
  add_socket_methods(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(iocp, Init)
