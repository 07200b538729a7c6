#pragma once
#include "../fault.h"

// What only Windows needs of fault.cc.

// Copies `bytes`, and returns how many of them could not be copied: a page that cannot be had is no exception here.
size_t copy_guarded(void* into, const void* from, size_t bytes);

// Puts an empty reservation in place of the file's pages: a view that somebody has kept reads zeros. Returns false where
// another thread has just taken the addresses.
bool retire_pages(Mapping* mapping);

// Closes the file, which a thread that meets a fault may be reading.
void close_file(Mapping* mapping);
