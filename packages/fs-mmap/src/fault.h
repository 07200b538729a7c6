#pragma once
#include "mapping.h"

// How the process survives faults: posix/sigbus.cc, or win/fault.cc, where a fault is an exception.

// From now on a fault in the mapping's pages is survived: zeros take the place of pages that cannot be read, and
// `torn_at` says where. See mmap(2), "SIGBUS".
Guard* guard(Mapping* mapping);

// Ends that. When it returns, no handler uses the memory on any thread, and it can be unmapped.
void unguard(Guard* guard);

// Installs the handler, again if it has been replaced.
void install_fault_handler();

// The size of a page: 4 KiB or more.
size_t page_bytes();
