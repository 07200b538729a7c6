#pragma once
#include "thread.h"

// What a system provides: posix/posix.cc or win/win.cc. Unless they say otherwise, these return 0, a negative errno, or
// kTorn.

// First the calls of the native threads.

// Opens and maps what the request asks for. `call` and `found` say what has failed. See open(2), mmap(2).
int map_file(Request* request, Mapping* mapping);

// Brings these bytes' pages into memory and into this process. See madvise(2), MADV_POPULATE_READ.
int populate(Mapping* mapping, int64_t offset, size_t bytes);

// Whether read_now has to read from the pages, since only they have what was stored.
bool reads_pages(const Mapping* mapping);

// Removes the file's pages from this part of the memory.
void discard(Mapping* mapping, size_t from, size_t bytes);

// Closes the file, when all pages are removed. An empty reservation is left, so that a view that was kept reads zeros.
int end_mapping(Mapping* mapping);

// Brings stores to the disk, a step at a time: returns whether that is done, and sets the result. See msync(2).
bool sync(Request* request);

// Makes `made` another mapping of the file, with the new length. If it is mapped, the caller takes it, even after an
// error.
int resize_file(Request* request, Mapping* made);

// The JavaScript thread also makes the following calls.

// Copies from the mapping. If the pages are not in memory, it waits for the disk. See pread(2).
int read_now(Mapping* mapping, int64_t offset, size_t bytes, char* into);

// The same, but returns EAGAIN instead of waiting. See preadv2(2), RWF_NOWAIT.
int read_cached(Mapping* mapping, int64_t offset, size_t bytes, char* into);

// Writes to the mapped file. The mapping sees it at once. See pwrite(2).
int write_now(Mapping* mapping, int64_t offset, size_t bytes, const char* from);

// Whether the file now ends before the mapping does. See fstat(2).
bool has_shrunk(const Mapping* mapping);

// Unmaps at once, not in steps as kUnmap does, and closes the file.
void unmap_now(Mapping* mapping);

// Whether the file has become shorter than the mapping, or a fault has been survived.
inline bool is_torn(const Mapping* mapping) { return mapping->torn_at.load() != 0 || has_shrunk(mapping); }
