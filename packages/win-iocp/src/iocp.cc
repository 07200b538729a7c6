// The completion port of an environment, the thread that waits at it, and the end of both, which can come at any
// moment, with anything in flight.
#include "iocp.h"

#include <stdlib.h>
#include <string.h>
#include <winternl.h>

// How often everything in flight is cancelled again at the end.
constexpr DWORD kCancelAgainMs = 10;

namespace {

// The completion key of completions that we post ourselves: `error` is set already.
constexpr ULONG_PTR kPosted = 1;

void post(Operation* operation, DWORD error, DWORD bytes) {
  operation->error = error;
  operation->bytes = bytes;
  // It fails only if there is no kernel memory.
  while (!PostQueuedCompletionStatus(operation->environment->port, bytes, kPosted, &operation->overlapped)) Sleep(1);
}

// After a call that completes at the port, the operation may have been taken by JavaScript, and used again.
void perform(Operation* operation) {
  // A close is made all the same, since nothing else would close the handle.
  bool must_run = operation->call == close_handle;
  if (operation->is_cancelled && !must_run) return post(operation, ERROR_OPERATION_ABORTED, 0);
  DWORD error = operation->call(operation);
  if (error != ERROR_IO_PENDING) post(operation, error, operation->bytes);
}

void CALLBACK run(PTP_CALLBACK_INSTANCE, void* operation) { perform(static_cast<Operation*>(operation)); }

// The end of a file or a pipe is no error; and errors get the names that node:fs gives them.
double result_of(Operation* operation) {
  DWORD error = operation->error;
  if (error == ERROR_SUCCESS) return operation->bytes;
  bool other_end_has_gone = error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED || error == ERROR_NO_DATA;
  if (operation->reads) {
    if (error == ERROR_HANDLE_EOF || other_end_has_gone) return 0;
    if (error == ERROR_MORE_DATA) return operation->bytes;  // of a message
  }
  if (operation->memory != nullptr && other_end_has_gone) return UV_EPIPE;
  if (operation->memory != nullptr && error == ERROR_ACCESS_DENIED) return UV_EBADF;
  // There is too much in flight for the process's quota: ReadFile's documentation says to try again later.
  if (error == ERROR_INVALID_USER_BUFFER || error == ERROR_NOT_ENOUGH_QUOTA || error == ERROR_WORKING_SET_QUOTA)
    return UV_EAGAIN;
  // O_CREAT, and a folder has that name.
  if (operation->opens && error == ERROR_FILE_EXISTS && operation->disposition != CREATE_NEW) return UV_EISDIR;
  return uv_translate_sys_error(static_cast<int>(error));
}

void complete(Operation* operation, const OVERLAPPED_ENTRY& entry) {
  if (entry.lpCompletionKey == kSocket) {
    DWORD flags;
    OVERLAPPED* overlapped = &operation->overlapped;
    bool is_done = WSAGetOverlappedResult(operation->socket, overlapped, &operation->bytes, FALSE, &flags);
    operation->error = is_done ? ERROR_SUCCESS : static_cast<DWORD>(WSAGetLastError());
  } else if (entry.lpCompletionKey != kPosted) {
    NTSTATUS status = static_cast<NTSTATUS>(operation->overlapped.Internal);
    operation->error = status >= 0 ? ERROR_SUCCESS : RtlNtStatusToDosError(status);
    operation->bytes = entry.dwNumberOfBytesTransferred;
  }
  operation->next = nullptr;
  Environment* environment = operation->environment;
  if (environment->last_done == nullptr)
    environment->first_done = operation;
  else
    environment->last_done->next = operation;
  environment->last_done = operation;
  operation->is_in_flight = false;
  if (--environment->in_flight == 0) SetEvent(environment->drained);
}

DWORD WINAPI wait(void* data) {
  Environment* environment = static_cast<Environment*>(data);
  OVERLAPPED_ENTRY entries[64];
  for (;;) {
    ULONG count = 0;
    if (!GetQueuedCompletionStatusEx(environment->port, entries, 64, &count, INFINITE, FALSE)) return 1;
    bool is_over = false;
    AcquireSRWLockExclusive(&environment->lock);
    for (ULONG i = 0; i < count; i++) {
      if (entries[i].lpOverlapped == nullptr)
        is_over = true;
      else
        complete(CONTAINING_RECORD(entries[i].lpOverlapped, Operation, overlapped), entries[i]);
    }
    if (!environment->is_over) uv_async_send(&environment->wake);
    ReleaseSRWLockExclusive(&environment->lock);
    if (is_over) return 0;
  }
}

// After this nothing is written to JavaScript's memory. Returns false if the disk did not answer in time.
bool drain(Environment* environment) {
  const ULONGLONG start_ms = GetTickCount64();
  while (environment->in_flight > 0) {
    for (uint32_t slot = 0; slot < environment->operation_count; slot++) {
      Operation* operation = environment->operations[slot];
      if (operation != nullptr && operation->is_in_flight) cancel(operation);
    }
    if (WaitForSingleObject(environment->drained, kCancelAgainMs) == WAIT_OBJECT_0) continue;
    if (environment->is_main_thread && GetTickCount64() - start_ms >= kiruna::kExitTimeoutMs) return false;
  }
  return true;
}

void free_paths(Operation* operation) {
  free(operation->path);
  free(operation->target);
  free(operation->addresses);
  operation->path = operation->target = nullptr;
  operation->addresses = nullptr;
}

void release(Environment* environment) {
  for (uint32_t slot = 0; slot < environment->operation_count; slot++) {
    Operation* operation = environment->operations[slot];
    if (operation == nullptr) continue;
    free_paths(operation);
    delete operation;
  }
  for (uint32_t index = 0; index < environment->file_count; index++) {
    File* file = environment->files[index];
    if (file == nullptr) continue;
    CloseHandle(file->handle);
    delete file;
  }
  close_sockets(environment);
  free(environment->operations);
  free(environment->files);
  CloseHandle(environment->port);
  CloseHandle(environment->thread);
  CloseHandle(environment->drained);
}

bool start_waiting(Environment* environment) {
  environment->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1);
  environment->drained = CreateEventW(nullptr, FALSE, FALSE, nullptr);
  environment->group = CreateThreadpoolCleanupGroup();
  if (environment->port == nullptr || environment->drained == nullptr || environment->group == nullptr) return false;
  const TP_CALLBACK_PRIORITY priorities[] = {TP_CALLBACK_PRIORITY_HIGH, TP_CALLBACK_PRIORITY_NORMAL,
                                             TP_CALLBACK_PRIORITY_LOW, TP_CALLBACK_PRIORITY_NORMAL};
  for (int i = 0; i < 4; i++) {
    PTP_CALLBACK_ENVIRON callbacks = &environment->callbacks[i];
    InitializeThreadpoolEnvironment(callbacks);
    SetThreadpoolCallbackPriority(callbacks, priorities[i]);
    SetThreadpoolCallbackCleanupGroup(callbacks, environment->group, nullptr);
    if (i == 3) SetThreadpoolCallbackRunsLong(callbacks);
  }
  environment->thread = CreateThread(nullptr, 0, wait, environment, 0, nullptr);
  return environment->thread != nullptr;
}

template <typename Item> Item& slot_of(Item*& items, uint32_t& count, uint32_t index) {
  if (index >= count) {
    uint32_t more = count == 0 ? 64 : count * 2;
    while (more <= index) more *= 2;
    items = static_cast<Item*>(realloc(items, more * sizeof(Item)));
    memset(items + count, 0, (more - count) * sizeof(Item));
    count = more;
  }
  return items[index];
}

double adopt(Environment* environment, Operation* operation) {
  uint32_t index = 0;
  while (index < environment->file_count && environment->files[index] != nullptr) index++;
  slot_of(environment->files, environment->file_count, index) = operation->file;
  operation->file = nullptr;
  return index;
}

}  // namespace

int Environment::start() {
  InitializeSRWLock(&lock);
  return start_waiting(this) ? 0 : UV_ENOMEM;
}

// Also called before Node unloads the addon.
bool Environment::stop() {
  bool has_drained = drain(this);
  AcquireSRWLockExclusive(&lock);
  is_over = true;
  ReleaseSRWLockExclusive(&lock);
  if (!has_drained) return false;  // the process ends with the calls in flight
  if (thread == nullptr) return true;
  CloseThreadpoolCleanupGroupMembers(group, FALSE, nullptr);  // a callback may be about to return
  CloseThreadpoolCleanupGroup(group);
  PostQueuedCompletionStatus(port, 0, 0, nullptr);
  WaitForSingleObject(thread, INFINITE);
  // Results that JavaScript has not taken.
  for (Operation* done = first_done; done != nullptr; done = done->next)
    if (done->opens && done->error == ERROR_SUCCESS) {
      CloseHandle(done->file->handle);
      delete done->file;
    }
  release(this);
  return true;
}

Operation* operation_at(Environment* environment, uint32_t slot, int rank) {
  Operation*& operation = slot_of(environment->operations, environment->operation_count, slot);
  if (operation == nullptr) {
    operation = new Operation();
    operation->environment = environment;
    operation->slot = slot;
  }
  memset(&operation->overlapped, 0, sizeof operation->overlapped);
  operation->rank = rank;
  operation->opens = operation->reads = operation->waits = false;
  operation->is_cancelled = false;
  operation->file = nullptr;
  operation->socket = INVALID_SOCKET;
  operation->memory = nullptr;
  operation->error = operation->bytes = 0;
  return operation;
}

// Begins a call that does not wait, on this thread.
void begin_here(Operation* operation) {
  operation->environment->in_flight++;
  operation->is_in_flight = true;
  perform(operation);
}

// Begins a call that may wait: a thread of the system's pool makes it.
void begin_in_pool(Operation* operation) {
  Environment* environment = operation->environment;
  environment->in_flight++;
  operation->is_in_flight = true;
  int level = operation->waits ? 3 : operation->rank <= 1 ? 0 : operation->rank - 1;
  if (!TrySubmitThreadpoolCallback(run, operation, &environment->callbacks[level])) post(operation, GetLastError(), 0);
}

// Returns false if the operation was not found: it may be passing from one thread to another, or be done.
bool cancel(Operation* operation) {
  operation->is_cancelled = true;
  bool is_found = false;
  // A file that is being opened has no memory to fill.
  if (operation->memory != nullptr && operation->file != nullptr && operation->file->is_on_port)
    is_found = CancelIoEx(operation->file->handle, &operation->overlapped);
  if (operation->socket != INVALID_SOCKET) {
    // The call that a thread waits in has another OVERLAPPED, but it is the only one of such a socket: all are
    // cancelled.
    OVERLAPPED* overlapped = operation->call == connect_unix ? nullptr : &operation->overlapped;
    is_found = CancelIoEx(reinterpret_cast<HANDLE>(operation->socket), overlapped);
  }
  AcquireSRWLockExclusive(&operation->environment->lock);
  if (operation->thread != nullptr) is_found = CancelSynchronousIo(operation->thread);
  ReleaseSRWLockExclusive(&operation->environment->lock);
  return is_found;
}

// Pairs of a slot and its result: bytes, a file, or a negative errno.
uint32_t take(Environment* environment, double* pairs, uint32_t most) {
  uint32_t count = 0;
  AcquireSRWLockExclusive(&environment->lock);
  while (count < most && environment->first_done != nullptr) {
    Operation* operation = environment->first_done;
    environment->first_done = operation->next;
    if (environment->first_done == nullptr) environment->last_done = nullptr;
    free_paths(operation);
    pairs[count * 2] = operation->slot;
    pairs[count * 2 + 1] =
        operation->opens && operation->error == ERROR_SUCCESS ? adopt(environment, operation) : result_of(operation);
    count++;
  }
  ReleaseSRWLockExclusive(&environment->lock);
  return count;
}

File* file_at(Environment* environment, uint32_t index) {
  return index < environment->file_count ? environment->files[index] : nullptr;
}

// Gives a file's handle to the operation that closes it.
HANDLE give_up(Environment* environment, uint32_t index) {
  File* file = environment->files[index];
  environment->files[index] = nullptr;
  HANDLE handle = file->handle;
  delete file;
  return handle;
}
