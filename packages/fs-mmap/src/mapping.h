#pragma once
#include <atomic>
#include <stddef.h>
#include <stdint.h>

struct Environment;
struct Guard;

enum class Access : uint8_t { kRead, kCopyOnWrite, kReadWrite };

// A part of a file in memory. A mapping begins at any offset; its first page begins earlier:
//
//     base ──── lead_bytes ──── offset in the file ──── bytes ──── the end of the last page
//     └───────────────────────── mapped_bytes ─────────────────────────┘
struct Mapping {
  char* base = nullptr;  // none for an empty one
  size_t mapped_bytes = 0;
  size_t lead_bytes = 0;
  size_t bytes = 0;
  int64_t offset = 0;
#ifdef _WIN32
  void* file = nullptr;  // its HANDLE
#else
  int fd = -1;
#endif
  Access access = Access::kRead;
  Guard* guard = nullptr;
  // The first address without a byte of the file behind it: set by the fault's handler, 0 while there is none.
  std::atomic<uintptr_t> torn_at{0};
  // Whether the file ended before `torn_at` then. Otherwise the disk has failed, or was full.
  std::atomic<bool> was_short{false};

  // The following fields belong to the JavaScript thread.
  Environment* environment = nullptr;  // none once that has ended
  Mapping* next = nullptr;             // in the environment's list
  Mapping* previous = nullptr;
  int references = 0;  // the handle, each window, each request
  bool is_unmapped = false;

  char* data() const { return base + lead_bytes; }
  int64_t end() const { return offset + static_cast<int64_t>(bytes); }
};
