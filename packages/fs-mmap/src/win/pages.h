#pragma once
#include "../fault.h"

// The functions of fault.cc that only Windows needs.

// Copies `bytes`, and returns how many of them could not be copied: a page that cannot be read is not an exception
// here.
size_t copy_guarded(void* into, const void* from, size_t bytes);

// Replaces the file's pages with an empty reservation: a view that was kept reads zeros. Returns false if another
// thread has just taken the addresses.
bool retire_pages(Mapping* mapping);

// Closes the file, which a thread that meets a fault may be reading.
void close_file(Mapping* mapping);
