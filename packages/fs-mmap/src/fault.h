#pragma once
#include "mapping.h"

// How a system survives faults: posix/sigbus.cc, or win/fault.cc, where a fault is an exception.

// From here on a fault in the mapping's pages is survived: zeros are put in place of what cannot be had, and `torn_at`
// says where. See mmap(2), "SIGBUS".
Guard* guard(Mapping* mapping);

// Ends that. When it returns no handler is at work on the memory, on any thread: it can be unmapped.
void unguard(Guard* guard);

// Puts the handler in place, or back in place where somebody has replaced it.
void install_fault_handler();

// The size of a page: 4 KiB or more.
size_t page_bytes();
