#pragma once
#include <atomic>
#include <stddef.h>
#include <stdint.h>

struct Guard;

// From here on a fault in this memory is survived: zeros are put in place of what the file has lost, and `torn_at`
// says where. See mmap(2), "SIGBUS".
Guard* guard(char* base, size_t bytes, std::atomic<uintptr_t>* torn_at);

// Ends that. When it returns no handler is at work on the memory, on any thread: it can be unmapped.
void unguard(Guard* guard);

// Puts the handler in place, or back in place where somebody has replaced it.
void install_sigbus_handler();

// The size of a page: 4 KiB or more.
size_t page_bytes();
