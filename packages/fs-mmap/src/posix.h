#pragma once
#include "mapping.h"

// What posix.cc has, and on Windows win.cc: the calls that the JavaScript thread makes itself. They return 0, a negative error number, or kTorn.

// Copies from the mapping. Where the pages are not in memory it waits for the disk. See pread(2).
int read_now(Mapping* mapping, int64_t offset, size_t bytes, char* into);

// The same, but returns EAGAIN instead of waiting. See preadv2(2), RWF_NOWAIT.
int read_cached(Mapping* mapping, int64_t offset, size_t bytes, char* into);

// Writes to the mapped file: seen in the mapping at once. See pwrite(2).
int write_now(Mapping* mapping, int64_t offset, size_t bytes, const char* from);

// Whether the file has become shorter than the mapping, or a fault has been survived. See fstat(2).
bool is_torn(const Mapping* mapping);

// At once, as opposed to kUnmap's steps. Closes the file too.
void unmap_now(Mapping* mapping);
