#pragma once
#include "mapping.h"
#include <pthread.h>

// As in thread.ts.
enum class Kind : uint8_t { kMap, kPrefault, kRead, kUnmap, kSync, kResize };

// Results other than 0 and negative errnos, as in thread.ts.
constexpr int kTorn = 1;       // the file has become shorter than the mapping
constexpr int kBeyondEnd = 2;  // the file was never that long
constexpr int kNotAtEnd = 3;   // the file goes on behind the mapping

// A call from JavaScript that may wait for the disk. A thread makes it, a step at a time.
struct Request {
  Request* next;
  uint32_t id;  // 0: nobody waits for it
  Kind kind;
  uint8_t rank;
  bool is_cancelled;
  int result;
  Mapping* mapping;  // held; none yet for kMap
  int64_t offset;    // kMap: in the file, otherwise in the mapping
  int64_t bytes;     // kMap: −1 for all of the file
  size_t done_bytes;
  size_t step_bytes;  // kUnmap: of the step that took `step_us`; 0 before the first
  int64_t step_us;
  char* into;        // kRead: memory that JavaScript holds until this is done
  char* path;        // kMap
  Access access;     // kMap
  Mapping* made;     // kMap, kResize
  const char* call;  // kMap: the system call that failed
  int64_t found;     // kMap: the mode if it is not a file, or the size of a file that is too short
};

struct Queue {
  Request* first;
  Request* last;
};

struct Threads;

// Makes requests one after the other, most urgent first: a more urgent one gets its turn at the next step.
struct Thread {
  Threads* owner;
  pthread_t id;
  pthread_cond_t wake;
  bool is_running;
  Queue waiting[4];  // by rank; within one first in, first out
  Request* current;
};

// Work that may take long for different reasons has separate threads: a prefault never waits for an fsync.
constexpr int kThreads = 3;

// The threads of an environment, and what they have done.
struct Threads {
  pthread_mutex_t mutex;  // of all that follows, in Thread too
  pthread_cond_t ended;
  Thread threads[kThreads];
  Queue done;
  bool is_stopping;
  void (*on_done)(void* data);  // called on a thread when `done` is no longer empty; not after stop_threads
  void* data;
};

Threads* create_threads(void (*on_done)(void* data), void* data);

// Returns 0 or a negative errno: EAGAIN if the system has no thread left. Then the request is not taken.
int submit(Threads* threads, Request* request);

// The request has another rank: it goes to the end of its new queue.
void move(Threads* threads, uint32_t id, uint8_t rank);

// Ends a request that waits or is between two steps, with ECANCELED.
void cancel(Threads* threads, uint32_t id);

// The requests that are done, in order of completion.
Request* take_done(Threads* threads);

// Lets each thread finish its step, and waits for that, at most `timeout_ms` (−1: for ever).
// Returns false if a thread still works: then nothing that it uses may be freed.
bool stop_threads(Threads* threads, int timeout_ms);

// To be called when they have stopped. `forget` is called for each request.
void destroy_threads(Threads* threads, void (*forget)(Request* request));

// In step.cc. Returns whether the request is done; sets its result.
bool step(Request* request);
