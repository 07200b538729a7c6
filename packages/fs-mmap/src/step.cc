// The steps of requests, on a native thread. After each step a more urgent request gets its turn.
#include "system.h"

namespace {

// Smaller steps cost throughput, larger ones latency.
constexpr size_t kPrefaultStep = 2 << 20;
constexpr size_t kUnmapStep = 8 << 20;
constexpr size_t kLongestUnmapStep = 128 << 20;

size_t next_bytes(size_t left, size_t step) { return left < step ? left : step; }

bool made(Request* request, Mapping* mapping, int result) {
  request->result = result;
  if (result == 0 || mapping->base != nullptr) {
    request->made = mapping;
  } else {
    unmap_now(mapping);
    delete mapping;
  }
  return true;
}

bool prefault(Request* request) {
  size_t bytes = next_bytes(request->bytes - request->done_bytes, kPrefaultStep);
  request->result = populate(request->mapping, request->offset + request->done_bytes, bytes);
  request->done_bytes += bytes;
  return request->result != 0 || request->done_bytes == static_cast<size_t>(request->bytes);
}

bool read(Request* request) {
  Mapping* mapping = request->mapping;
  size_t bytes = next_bytes(request->bytes - request->done_bytes, kPrefaultStep);
  int64_t offset = request->offset + request->done_bytes;
  int error = reads_pages(mapping) ? populate(mapping, offset, bytes) : 0;
  request->result = error != 0 ? error : read_now(mapping, offset, bytes, request->into + request->done_bytes);
  request->done_bytes += bytes;
  return request->result != 0 || request->done_bytes == static_cast<size_t>(request->bytes);
}

// Unmaps in steps: a warm gigabyte in one call would hold up every page fault of the process for 25 ms.
bool unmap(Request* request) {
  Mapping* mapping = request->mapping;
  // Larger steps where there are no pages, which cost next to nothing: a terabyte should not take a minute.
  if (request->step_bytes == 0 || request->step_us > 200)
    request->step_bytes = kUnmapStep;
  else if (request->step_us < 50)
    request->step_bytes = next_bytes(request->step_bytes * 2, kLongestUnmapStep);
  size_t bytes = next_bytes(mapping->mapped_bytes - request->done_bytes, request->step_bytes);
  if (bytes > 0) discard(mapping, request->done_bytes, bytes);
  request->done_bytes += bytes;
  if (request->done_bytes < mapping->mapped_bytes) return false;
  request->result = end_mapping(mapping);
  return true;
}

}  // namespace

bool step(Request* request) {
  Mapping* mapping;
  switch (request->kind) {
  case Kind::kMap:
    mapping = new Mapping();
    return made(request, mapping, map_file(request, mapping));
  case Kind::kPrefault:
    return prefault(request);
  case Kind::kRead:
    return read(request);
  case Kind::kUnmap:
    return unmap(request);
  case Kind::kSync:
    return sync(request);
  case Kind::kResize:
    mapping = new Mapping();
    return made(request, mapping, resize_file(request, mapping));
  }
  return true;
}
