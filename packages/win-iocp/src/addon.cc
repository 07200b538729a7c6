// What native.ts declares. Each function fills an operation and begins it; JavaScript holds the memory until `take`.
#include "arguments.h"

namespace {

// Reads of less than this are begun on JavaScript's thread, where they cost little if the file is cached; those of the
// urgent of up to four times as much.
constexpr DWORD kLargeBytes = 64 * 1024;

// setup(onReady, isMainThread): 0 | a negative error number
napi_value Setup(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  bool is_main_thread = false;
  napi_get_value_bool(env, arguments.values[1], &is_main_thread);
  return number(env, set_up(env, arguments.values[0], is_main_thread));
}

// createFile(slot, rank, path, access, disposition, flags)
napi_value CreateFile_(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = create_file;
  operation->opens = true;
  operation->path = arguments.string(2);
  operation->access = arguments.word(3);
  operation->disposition = arguments.word(4);
  operation->flags = arguments.word(5);
  begin_in_pool(operation);
  return nullptr;
}

// Of a pipe it never waits. What a file has cached is copied at once, and some of what is not may be waited for.
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
napi_value Read(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = read_file;
  operation->reads = true;
  operation->file = arguments.file(2);
  arguments.memory(3, operation);
  operation->position = static_cast<int64_t>(arguments.number(4));
  if (operation->file->is_on_port)
    begin_read(operation);
  else
    begin_waiting(operation, operation->file->handle);
  return nullptr;
}

// write(slot, rank, file, bytes, position)
// A file that grows is written while the caller waits, whatever FILE_FLAG_OVERLAPPED says:
// https://learn.microsoft.com/troubleshoot/windows/win32/asynchronous-disk-io-synchronous
napi_value Write(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = write_file;
  operation->file = arguments.file(2);
  arguments.memory(3, operation);
  operation->position = static_cast<int64_t>(arguments.number(4));
  if (!operation->file->is_on_port)
    begin_waiting(operation, operation->file->handle);
  else if (operation->file->type == FILE_TYPE_DISK)
    begin_in_pool(operation);
  else
    begin_here(operation);
  return nullptr;
}

napi_value begin_borrowed(napi_env env, napi_callback_info info, bool reads) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->reads = reads;
  arguments.memory(3, operation);
  begin_waiting(operation, reinterpret_cast<HANDLE>(uv_get_osfhandle(static_cast<int>(arguments.number(2)))));
  return nullptr;
}

// readFd(slot, rank, fd, bytes)
napi_value ReadFd(napi_env env, napi_callback_info info) { return begin_borrowed(env, info, true); }

// writeFd(slot, rank, fd, bytes)
napi_value WriteFd(napi_env env, napi_callback_info info) { return begin_borrowed(env, info, false); }

// seekBack(fd, length)
napi_value SeekBack(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  LARGE_INTEGER distance;
  distance.QuadPart = -static_cast<int64_t>(arguments.number(1));
  HANDLE handle = reinterpret_cast<HANDLE>(uv_get_osfhandle(static_cast<int>(arguments.number(0))));
  SetFilePointerEx(handle, distance, nullptr, FILE_CURRENT);
  return nullptr;
}

// flush(slot, rank, file)
napi_value Flush(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = flush_file_buffers;
  operation->file = arguments.file(2);
  begin_in_pool(operation);
  return nullptr;
}

// fileSize(slot, rank, file)
napi_value FileSize(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = get_file_size;
  operation->file = arguments.file(2);
  begin_in_pool(operation);
  return nullptr;
}

// setEndOfFile(slot, rank, file, length)
napi_value SetEndOfFile_(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = set_end_of_file;
  operation->file = arguments.file(2);
  operation->position = static_cast<int64_t>(arguments.number(3));
  begin_in_pool(operation);
  return nullptr;
}

// moveFile(slot, rank, from, to)
napi_value MoveFile_(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = move_file;
  operation->path = arguments.string(2);
  operation->target = arguments.string(3);
  begin_in_pool(operation);
  return nullptr;
}

// close(slot, rank, file): from here on the number may be another file's.
napi_value Close(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Operation* operation = arguments.operation();
  operation->call = close_handle;
  operation->handle = give_up(environment_of(env), arguments.word(2));
  begin_in_pool(operation);
  return nullptr;
}

// cancel(slot): boolean, found
napi_value Cancel(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value result;
  napi_get_boolean(env, cancel(environment_of(env)->operations[arguments.word(0)]), &result);
  return result;
}

// take(pairs: Float64Array): how many pairs of a slot and its result
napi_value Take(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  size_t length = 0;
  void* pairs = nullptr;
  napi_get_typedarray_info(env, arguments.values[0], nullptr, &length, &pairs, nullptr, nullptr);
  return number(env, take(environment_of(env), static_cast<double*>(pairs), static_cast<uint32_t>(length / 2)));
}

// descriptor(file): fd | a negative error number
napi_value Descriptor(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  return number(env, reopen(arguments.file(0)));
}

// isDisk(file): boolean
napi_value IsDisk(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value result;
  napi_get_boolean(env, arguments.file(0)->type == FILE_TYPE_DISK, &result);
  return result;
}

// ref(): what is in flight keeps the process alive.
napi_value Ref(napi_env env, napi_callback_info) {
  uv_ref(reinterpret_cast<uv_handle_t*>(&environment_of(env)->wake));
  return nullptr;
}

// unref(): nothing is.
napi_value Unref(napi_env env, napi_callback_info) {
  uv_unref(reinterpret_cast<uv_handle_t*>(&environment_of(env)->wake));
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"setup", Setup},
      {"createFile", CreateFile_},
      {"read", Read},
      {"write", Write},
      {"readFd", ReadFd},
      {"writeFd", WriteFd},
      {"seekBack", SeekBack},
      {"flush", Flush},
      {"fileSize", FileSize},
      {"setEndOfFile", SetEndOfFile_},
      {"moveFile", MoveFile_},
      {"close", Close},
      {"cancel", Cancel},
      {"take", Take},
      {"descriptor", Descriptor},
      {"isDisk", IsDisk},
      {"ref", Ref},
      {"unref", Unref},
  };
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  export_sockets(env, exports);
  return exports;
}
