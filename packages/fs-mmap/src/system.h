#pragma once
#include "thread.h"

// What a system must provide: posix/posix.cc or win/win.cc. These return 0, a negative error number, or kTorn where
// nothing else is said.

// First the calls of the native threads.

// Opens and maps what the request asks for. Says in `call` and `found` what has failed. See open(2), mmap(2).
int map_file(Request* request, Mapping* mapping);

// Brings the pages of so much of the mapping into memory and into this process. See madvise(2), MADV_POPULATE_READ.
int populate(Mapping* mapping, int64_t offset, size_t bytes);

// Whether read_now finds in the pages what it finds nowhere else.
bool reads_pages(const Mapping* mapping);

// The file's pages leave so much of the memory.
void discard(Mapping* mapping, size_t from, size_t bytes);

// When all have: closes the file. What is left is an empty reservation, so that a view that somebody has kept reads zeros.
int end_mapping(Mapping* mapping);

// Brings stores to the disk, a step at a time: returns whether that is done, and sets the result. See msync(2).
bool sync(Request* request);

// Makes `made` another mapping of the file, of the new length. Where it is mapped it is to be taken, also after an error.
int resize_file(Request* request, Mapping* made);

// Those that follow the JavaScript thread makes too.

// Copies from the mapping. Where the pages are not in memory it waits for the disk. See pread(2).
int read_now(Mapping* mapping, int64_t offset, size_t bytes, char* into);

// The same, but returns EAGAIN instead of waiting. See preadv2(2), RWF_NOWAIT.
int read_cached(Mapping* mapping, int64_t offset, size_t bytes, char* into);

// Writes to the mapped file: seen in the mapping at once. See pwrite(2).
int write_now(Mapping* mapping, int64_t offset, size_t bytes, const char* from);

// Whether the file is now shorter than where the mapping ends. See fstat(2).
bool has_shrunk(const Mapping* mapping);

// At once, as opposed to kUnmap's steps. Closes the file too.
void unmap_now(Mapping* mapping);

// Whether the file has become shorter than the mapping, or a fault has been survived.
inline bool is_torn(const Mapping* mapping) { return mapping->torn_at.load() != 0 || has_shrunk(mapping); }
