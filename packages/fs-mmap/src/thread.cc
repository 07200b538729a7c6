// The native threads: each has a queue in priority order, and all have one lock. No request holds a thread for longer
// than a step, and the lock is not held while a thread works.
#include "thread.h"

#include <errno.h>
#include <initializer_list>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

namespace {

// Faulting pages in and unmapping them takes the lock of the process's address space, and every other page fault and
// allocation waits for it. Without a pause the JavaScript thread stands still for up to 16 ms. Windows has no pause
// this short: there the thread yields to others that are ready to run.
constexpr useconds_t kPauseUs = 50;
constexpr int64_t kPauseAfterUs = 100;

void push_back(Queue* queue, Request* request) {
  request->next = nullptr;
  if (queue->last == nullptr)
    queue->first = request;
  else
    queue->last->next = request;
  queue->last = request;
}

void push_front(Queue* queue, Request* request) {
  request->next = queue->first;
  queue->first = request;
  if (queue->last == nullptr) queue->last = request;
}

Request* pop(Queue* queue) {
  Request* request = queue->first;
  queue->first = request->next;
  if (queue->first == nullptr) queue->last = nullptr;
  return request;
}

// Removes the request from the queue and returns it, if it waits there.
Request* remove(Queue* queue, uint32_t id) {
  Request* before = nullptr;
  for (Request* request = queue->first; request != nullptr; before = request, request = request->next) {
    if (request->id != id) continue;
    if (before == nullptr)
      queue->first = request->next;
    else
      before->next = request->next;
    if (queue->last == request) queue->last = before;
    return request;
  }
  return nullptr;
}

int64_t now_us() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000000} + now.tv_nsec / 1000;
}

Request* most_urgent(Thread* thread) {
  for (Queue& queue : thread->waiting)
    if (queue.first != nullptr) return pop(&queue);
  return nullptr;
}

void finish(Threads* threads, Request* request) {
  bool was_empty = threads->done.first == nullptr;
  push_back(&threads->done, request);
  if (was_empty && !threads->is_stopping) threads->on_done(threads->data);
}

void* run(void* data) {
  Thread* thread = static_cast<Thread*>(data);
  Threads* threads = thread->owner;
  int64_t busy_us = 0;  // since the last pause
  pthread_mutex_lock(&threads->mutex);
  while (!threads->is_stopping) {
    Request* request = most_urgent(thread);
    if (request == nullptr) {
      busy_us = 0;
      pthread_cond_wait(&thread->wake, &threads->mutex);
      continue;
    }
    thread->current = request;
    pthread_mutex_unlock(&threads->mutex);
    int64_t start_us = now_us();
    bool is_done = step(request);
    request->step_us = now_us() - start_us;
    if (request->kind == Kind::kPrefault || request->kind == Kind::kUnmap) busy_us += request->step_us;
    pthread_mutex_lock(&threads->mutex);
    thread->current = nullptr;
    if (!is_done && request->is_cancelled) {
      request->result = UV_ECANCELED;
      is_done = true;
    }
    if (is_done)
      finish(threads, request);
    else
      push_front(&thread->waiting[request->rank], request);
    if (busy_us < kPauseAfterUs || threads->is_stopping) continue;
    busy_us = 0;
    pthread_mutex_unlock(&threads->mutex);
    usleep(kPauseUs);
    pthread_mutex_lock(&threads->mutex);
  }
  thread->is_running = false;
  pthread_cond_signal(&threads->ended);
  pthread_mutex_unlock(&threads->mutex);
  return nullptr;
}

#ifdef _WIN32
int create(Thread* thread) { return pthread_create(&thread->id, nullptr, run, thread); }
#else
// Blocks signals, which are for other threads, except faults: a blocked fault would end the process.
int create(Thread* thread) {
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (int signal : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, signal);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int error = pthread_create(&thread->id, nullptr, run, thread);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}
#endif

int start(Thread* thread) {
  if (create(thread) == 0) {
    thread->is_running = true;
    return 0;
  }
  thread->id = {};
  return UV_EAGAIN;  // pthread_create(3): it has no other error with no attributes
}

Thread* thread_for(Threads* threads, Kind kind) {
  switch (kind) {
  case Kind::kMap:
    return &threads->threads[1];
  case Kind::kSync:
  case Kind::kResize:
    return &threads->threads[2];
  default:
    return &threads->threads[0];
  }
}

}  // namespace

Threads* create_threads(void (*on_done)(void* data), void* data) {
  Threads* threads = new Threads();
  pthread_mutex_init(&threads->mutex, nullptr);
  pthread_cond_init(&threads->ended, nullptr);
  for (Thread& thread : threads->threads) {
    thread.owner = threads;
    pthread_cond_init(&thread.wake, nullptr);
  }
  threads->on_done = on_done;
  threads->data = data;
  return threads;
}

int submit(Threads* threads, Request* request) {
  Thread* thread = thread_for(threads, request->kind);
  pthread_mutex_lock(&threads->mutex);
  int error = thread->is_running ? 0 : start(thread);
  if (error == 0) {
    push_back(&thread->waiting[request->rank], request);
    pthread_cond_signal(&thread->wake);
  }
  pthread_mutex_unlock(&threads->mutex);
  return error;
}

void move(Threads* threads, uint32_t id, uint8_t rank) {
  pthread_mutex_lock(&threads->mutex);
  for (Thread& thread : threads->threads) {
    if (thread.current != nullptr && thread.current->id == id) thread.current->rank = rank;
    for (Queue& queue : thread.waiting) {
      Request* request = remove(&queue, id);
      if (request == nullptr) continue;
      request->rank = rank;
      push_back(&thread.waiting[rank], request);
      break;
    }
  }
  pthread_mutex_unlock(&threads->mutex);
}

void cancel(Threads* threads, uint32_t id) {
  pthread_mutex_lock(&threads->mutex);
  for (Thread& thread : threads->threads) {
    if (thread.current != nullptr && thread.current->id == id) thread.current->is_cancelled = true;
    for (Queue& queue : thread.waiting) {
      Request* request = remove(&queue, id);
      if (request == nullptr) continue;
      request->result = UV_ECANCELED;
      finish(threads, request);
    }
  }
  pthread_mutex_unlock(&threads->mutex);
}

Request* take_done(Threads* threads) {
  pthread_mutex_lock(&threads->mutex);
  Request* first = threads->done.first;
  threads->done = {};
  pthread_mutex_unlock(&threads->mutex);
  return first;
}

bool stop_threads(Threads* threads, int timeout_ms) {
  timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += timeout_ms / 1000;
  pthread_mutex_lock(&threads->mutex);
  threads->is_stopping = true;
  bool is_late = false;
  for (Thread& thread : threads->threads) {
    pthread_cond_signal(&thread.wake);
    while (thread.is_running && !is_late) {
      if (timeout_ms < 0)
        pthread_cond_wait(&threads->ended, &threads->mutex);
      else
        is_late = pthread_cond_timedwait(&threads->ended, &threads->mutex, &until) == ETIMEDOUT;
    }
  }
  pthread_mutex_unlock(&threads->mutex);
  if (is_late) return false;
  for (Thread& thread : threads->threads)
    if (thread.id != pthread_t{}) pthread_join(thread.id, nullptr);
  return true;
}

void destroy_threads(Threads* threads, void (*forget)(Request* request)) {
  for (Thread& thread : threads->threads) {
    for (Queue& queue : thread.waiting)
      while (queue.first != nullptr) forget(pop(&queue));
    pthread_cond_destroy(&thread.wake);
  }
  while (threads->done.first != nullptr) forget(pop(&threads->done));
  pthread_cond_destroy(&threads->ended);
  pthread_mutex_destroy(&threads->mutex);
  delete threads;
}
