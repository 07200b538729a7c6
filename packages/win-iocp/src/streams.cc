// Reads and writes of handles that are not on our port: borrowed descriptors, which may be on libuv's, and consoles,
// which can be on none. A thread of the system's pool makes the call and waits, so that it can be cancelled.
#include "iocp.h"

// The longest pause between two looks at a silent pipe or console.
constexpr DWORD kLongestPauseMs = 10;
// How many UTF-16 units go to a console at once.
constexpr int kConsoleUnits = 4096;

namespace {

// While it lives, `cancel` can interrupt this thread's system call.
class Cancellable {
public:
  explicit Cancellable(Operation* operation) : operation_(operation) {
    HANDLE process = GetCurrentProcess();
    DuplicateHandle(process, GetCurrentThread(), process, &thread_, 0, FALSE, DUPLICATE_SAME_ACCESS);
    set(thread_);
  }
  ~Cancellable() {
    set(nullptr);
    CloseHandle(thread_);
  }

private:
  void set(HANDLE thread) {
    AcquireSRWLockExclusive(&operation_->environment->lock);
    operation_->thread = thread;
    ReleaseSRWLockExclusive(&operation_->environment->lock);
  }
  Operation* operation_;
  HANDLE thread_ = nullptr;
};

bool is_console(HANDLE handle) {
  DWORD mode;
  return GetConsoleMode(handle, &mode);
}

// A pending read holds up every other call on a synchronous handle, even one that asks for its type: so a read is made
// only when there is something.
DWORD wait_for_pipe(Operation* operation) {
  for (DWORD pause_ms = 1; !operation->is_cancelled; pause_ms = pause_ms < kLongestPauseMs ? pause_ms + 1 : pause_ms) {
    DWORD available = 0;
    if (!PeekNamedPipe(operation->handle, nullptr, 0, nullptr, &available, nullptr)) return GetLastError();
    if (available > 0) return ERROR_SUCCESS;
    Sleep(pause_ms);
  }
  return ERROR_OPERATION_ABORTED;
}

// Waits for a key press: with mouse, focus and other events only, ReadConsole would wait.
DWORD wait_for_key(Operation* operation) {
  while (!operation->is_cancelled) {
    if (WaitForSingleObject(operation->handle, kLongestPauseMs) != WAIT_OBJECT_0) continue;
    INPUT_RECORD record;
    DWORD count = 0;
    if (!PeekConsoleInputW(operation->handle, &record, 1, &count)) return GetLastError();
    if (count == 1 && record.EventType == KEY_EVENT && record.Event.KeyEvent.bKeyDown) return ERROR_SUCCESS;
    if (count == 1 && !ReadConsoleInputW(operation->handle, &record, 1, &count)) return GetLastError();
  }
  return ERROR_OPERATION_ABORTED;
}

DWORD read_console(Operation* operation) {
  DWORD error = wait_for_key(operation);
  if (error != ERROR_SUCCESS) return error;
  // A UTF-16 unit is at most three bytes of UTF-8.
  DWORD most = operation->length / 3 < kConsoleUnits ? operation->length / 3 : kConsoleUnits;
  if (most < 2) return ERROR_INVALID_PARAMETER;
  wchar_t units[kConsoleUnits];
  DWORD count = 0;
  if (!ReadConsoleW(operation->handle, units, most - 1, &count, nullptr)) return GetLastError();
  DWORD second = 0;
  if (count > 0 && IS_HIGH_SURROGATE(units[count - 1])) {
    if (ReadConsoleW(operation->handle, units + count, 1, &second, nullptr)) count += second;
  }
  if (count > 0 && units[0] == 0x1a) count = 0;  // control-Z
  operation->bytes =
      WideCharToMultiByte(CP_UTF8, 0, units, static_cast<int>(count), static_cast<char*>(operation->memory),
                          static_cast<int>(operation->length), nullptr, nullptr);
  return ERROR_SUCCESS;
}

// How many bytes to leave for the next write, if the end of these cuts a character in two.
DWORD cut_bytes(const unsigned char* bytes, DWORD length) {
  for (DWORD back = 1; back <= 3 && back <= length; back++) {
    unsigned char byte = bytes[length - back];
    if ((byte & 0xc0) == 0x80) continue;
    DWORD whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return whole > back ? back : 0;
  }
  return 0;
}

DWORD write_console(Operation* operation) {
  const auto* bytes = static_cast<const unsigned char*>(operation->memory);
  DWORD length = operation->length < kConsoleUnits ? operation->length : kConsoleUnits;
  DWORD cut = cut_bytes(bytes, length);
  if (cut < length) length -= cut;
  wchar_t units[kConsoleUnits];
  int count = MultiByteToWideChar(CP_UTF8, 0, reinterpret_cast<const char*>(bytes), static_cast<int>(length), units,
                                  kConsoleUnits);
  for (int done = 0; done < count;) {
    DWORD written = 0;
    if (!WriteConsoleW(operation->handle, units + done, static_cast<DWORD>(count - done), &written, nullptr))
      return GetLastError();
    done += static_cast<int>(written);
  }
  operation->bytes = length;
  return ERROR_SUCCESS;
}

// Makes a call with an event of its own: the event's lowest bit keeps the completion from any port that the handle is
// on.
template <typename Call> DWORD at_event(Operation* operation, Call call) {
  HANDLE event = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  if (event == nullptr) return GetLastError();
  OVERLAPPED overlapped = {};
  overlapped.hEvent = reinterpret_cast<HANDLE>(reinterpret_cast<uintptr_t>(event) | 1);
  DWORD error = call(&overlapped) ? ERROR_SUCCESS : GetLastError();
  if (error == ERROR_SUCCESS || error == ERROR_IO_PENDING) {
    while (WaitForSingleObject(event, kLongestPauseMs) == WAIT_TIMEOUT) {
      if (operation->is_cancelled) CancelIoEx(operation->handle, &overlapped);
    }
    error =
        GetOverlappedResult(operation->handle, &overlapped, &operation->bytes, FALSE) ? ERROR_SUCCESS : GetLastError();
  }
  CloseHandle(event);
  return error;
}

}  // namespace

DWORD read_where_it_stands(Operation* operation) {
  Cancellable cancellable(operation);
  HANDLE handle = operation->handle;
  DWORD type = GetFileType(handle);
  if (type == FILE_TYPE_DISK) {
    bool is_done = ReadFile(handle, operation->memory, operation->length, &operation->bytes, nullptr);
    return is_done ? ERROR_SUCCESS : GetLastError();
  }
  if (is_console(handle)) return read_console(operation);
  DWORD error = type == FILE_TYPE_PIPE ? wait_for_pipe(operation) : ERROR_SUCCESS;
  if (error != ERROR_SUCCESS) return error;
  return at_event(operation, [&](OVERLAPPED* overlapped) {
    return ReadFile(handle, operation->memory, operation->length, nullptr, overlapped);
  });
}

DWORD write_where_it_stands(Operation* operation) {
  Cancellable cancellable(operation);
  HANDLE handle = operation->handle;
  if (GetFileType(handle) == FILE_TYPE_DISK) {
    bool is_done = WriteFile(handle, operation->memory, operation->length, &operation->bytes, nullptr);
    return is_done ? ERROR_SUCCESS : GetLastError();
  }
  if (is_console(handle)) return write_console(operation);
  return at_event(operation, [&](OVERLAPPED* overlapped) {
    return WriteFile(handle, operation->memory, operation->length, nullptr, overlapped);
  });
}
