#pragma once
#include "thread.h"

#include <kiruna/environment.h>

struct Environment : kiruna::InstanceData<Environment> {
  static constexpr const char* kName = "KirunaMmap";
  Threads* threads;
  Mapping* mappings;

  // Starts no thread yet: they come with the first request.
  int start();
  bool stop();
};

// A handle for JavaScript: it holds the mapping until it is collected.
napi_value adopt(Environment* environment, Mapping* mapping);

// Lets go of a mapping. The last one unmaps it, on a thread.
void release(Mapping* mapping);

// It holds the mapping, if it has one.
Request* new_request(Kind kind, uint32_t id, uint8_t rank, Mapping* mapping);

// With all that it holds.
void forget(Request* request);
