#pragma once
#include "thread.h"

#include <kiruna/environment.h>

struct Environment : kiruna::InstanceData<Environment> {
  static constexpr const char* kName = "KirunaMmap";
  static constexpr kiruna::Phase kPhase = kiruna::Phase::kFree;
  Threads* threads;
  Mapping* mappings;

  // Does not start threads yet: the first request does.
  int start();
  bool stop();
};

// Makes a handle for JavaScript, which holds the mapping until it is collected.
napi_value adopt(Environment* environment, Mapping* mapping);

// Releases a reference to a mapping. The last one unmaps it, on a thread.
void release(Mapping* mapping);

// The request holds the mapping, if it has one.
Request* new_request(Kind kind, uint32_t id, uint8_t rank, Mapping* mapping);

// Frees a request and what it holds.
void forget(Request* request);
