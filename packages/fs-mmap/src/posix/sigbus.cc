// If a file is truncated under a mapping, or a disk is full under a shared one, the next access is a SIGBUS: also from
// JavaScript, which cannot check first. The handler puts zeros there, notes it, and returns. Only what a signal handler
// needs is global.
#include "../fault.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Never freed, so that the handler can read any of them at any time.
struct Guard {
  std::atomic<bool> is_taken;
  std::atomic<uintptr_t> begin;  // 0: guards nothing
  std::atomic<uintptr_t> end;
  std::atomic<Mapping*> mapping;
  std::atomic<int> handlers;  // threads whose handler is at this guard
};

namespace {

struct Block {
  Guard guards[128];
  std::atomic<Block*> next;
};

Block first_block;
pthread_mutex_t install_mutex = PTHREAD_MUTEX_INITIALIZER;
std::atomic<const struct sigaction*> previous_action;

// Initial-exec: other models may allocate at the first access, which a signal handler must not. macOS has only another
// model, but there the faults of others that this is for are WebAssembly's, not within malloc.
__thread bool is_chaining __attribute__((tls_model("initial-exec")));

// Not a signal that was sent, whose si_code is 0 or less on Linux, and 0 or SI_USER and above on macOS.
bool is_fault(const siginfo_t* info) { return info->si_code > 0 && info->si_code < 0x10000; }

void note(Mapping* mapping, uintptr_t address) {
  struct stat status;
  off_t at = mapping->offset + static_cast<off_t>(address - reinterpret_cast<uintptr_t>(mapping->data()));
  if (fstat(mapping->fd, &status) == 0 && status.st_size <= at) mapping->was_short.store(true);
  uintptr_t none = 0;
  mapping->torn_at.compare_exchange_strong(none, address);
}

bool cover(uintptr_t address) {
  for (Block* block = &first_block; block != nullptr; block = block->next.load()) {
    for (Guard& guard : block->guards) {
      if (guard.begin.load(std::memory_order_relaxed) > address) continue;
      if (guard.end.load(std::memory_order_relaxed) <= address) continue;
      // From now on unguard waits. It may have run just before, so all fields are read again.
      guard.handlers.fetch_add(1);
      uintptr_t begin = guard.begin.load();
      uintptr_t end = guard.end.load();
      bool is_covered = false;
      if (begin != 0 && address >= begin && address < end) {
        note(guard.mapping.load(), address);
        // Up to the end, not only this page: single pages could exceed the number of maps that a process may have.
        uintptr_t page = address & ~(page_bytes() - 1);
        is_covered = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ | PROT_WRITE,
                          MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1, 0) != MAP_FAILED;
      }
      guard.handlers.fetch_sub(1);
      if (is_covered) return true;
    }
  }
  return false;
}

// Acts as if there were no handler: the access is made again and ends the process, with its core dump; a signal that
// was sent is sent again. It is blocked until this handler returns.
void die(int signal, const siginfo_t* info) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  if (!is_fault(info)) raise(signal);
}

void chain(int signal, siginfo_t* info, void* context) {
  const struct sigaction* previous = previous_action.load();
  // Two copies of this addon may each be the other's previous handler.
  if (previous == nullptr || is_chaining) return die(signal, info);
  if (!(previous->sa_flags & SA_SIGINFO)) {
    if (previous->sa_handler == SIG_DFL) return die(signal, info);
    // A fault cannot be ignored: it would come again for ever.
    if (previous->sa_handler == SIG_IGN) return is_fault(info) ? die(signal, info) : void();
  }
  is_chaining = true;
  if (previous->sa_flags & SA_SIGINFO)
    previous->sa_sigaction(signal, info, context);
  else
    previous->sa_handler(signal);
  is_chaining = false;
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  int saved_errno = errno;
  bool is_covered = is_fault(info) && cover(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved_errno;
  if (!is_covered) chain(signal, info, context);
}

Guard* take_guard() {
  for (Block* block = &first_block;;) {
    for (Guard& guard : block->guards)
      if (!guard.is_taken.load(std::memory_order_relaxed) && !guard.is_taken.exchange(true)) return &guard;
    Block* next = block->next.load();
    if (next == nullptr) {
      Block* added = new Block();
      if (block->next.compare_exchange_strong(next, added))
        next = added;
      else
        delete added;  // another thread was quicker
    }
    block = next;
  }
}

}  // namespace

Guard* guard(Mapping* mapping) {
  Guard* guard = take_guard();
  uintptr_t begin = reinterpret_cast<uintptr_t>(mapping->base);
  uintptr_t last = page_bytes() - 1;
  guard->mapping.store(mapping);
  guard->end.store((begin + mapping->mapped_bytes + last) & ~last);
  guard->begin.store(begin);
  return guard;
}

void unguard(Guard* guard) {
  guard->begin.store(0);
  guard->end.store(0);
  while (guard->handlers.load() > 0) sched_yield();
  guard->is_taken.store(false);
}

void install_fault_handler() {
  struct sigaction current;
  sigaction(SIGBUS, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_sigbus) return;
  pthread_mutex_lock(&install_mutex);
  sigaction(SIGBUS, nullptr, &current);
  if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != on_sigbus) {
    // The earlier one is never freed, since a handler may be reading it. There rarely is one.
    previous_action.store(new struct sigaction(current));
    struct sigaction action = {};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (current.sa_flags & (SA_NODEFER | SA_RESTART));
    action.sa_mask = current.sa_mask;  // signals that must not interrupt the previous handler
    sigaction(SIGBUS, &action, nullptr);
  }
  pthread_mutex_unlock(&install_mutex);
}

size_t page_bytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}
