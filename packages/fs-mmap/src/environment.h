#pragma once
#include "thread.h"

#include <node_api.h>
#include <uv.h>

struct Environment {  // one for each: a worker loads the addon again
  napi_env env;
  napi_ref on_ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  uv_async_t wake;
  Threads* threads;
  Mapping* mappings;
  bool is_main_thread;
};

// None before set_up, and at the end.
Environment* environment_of(napi_env env);

// Starts nothing yet: threads come with the first request. `on_ready` is called when something is done.
// Returns 0 or a negative error number.
int set_up(napi_env env, napi_value on_ready, bool is_main_thread);

// A handle for JavaScript: it holds the mapping until it is collected.
napi_value adopt(Environment* environment, Mapping* mapping);

// Lets go of a mapping. The last one unmaps it, on a thread.
void release(Mapping* mapping);

// It holds the mapping, if it has one.
Request* new_request(Kind kind, uint32_t id, uint8_t rank, Mapping* mapping);

// With all that it holds.
void forget(Request* request);
