// The extended attributes of a file, its access list among them. See xattr(7), acl(5).
#include <sys/xattr.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "ring.h"

namespace {

// attr(5): neither the names nor a value can be longer.
constexpr size_t kMostBytes = 64 * 1024;
constexpr char kAccessList[] = "system.posix_acl_access";

// Not ours to copy: the kernel keeps it up to date itself, or only it may write it.
bool is_for_kernel(const char* name) {
  return strcmp(name, "security.ima") == 0 || strcmp(name, "security.evm") == 0 ||
         strncmp(name, "system.nfs4", 11) == 0;
}

int copy_all(int from, int to, char* names, char* value) {
  ssize_t length = flistxattr(from, names, kMostBytes);
  if (length < 0) return errno == ENOTSUP ? 0 : -errno;
  bool has_access_list = false;
  for (char* name = names; name < names + length; name += strlen(name) + 1) {
    if (is_for_kernel(name)) continue;
    if (strcmp(name, kAccessList) == 0) has_access_list = true;
    ssize_t size = fgetxattr(from, name, value, kMostBytes);
    if (size < 0 && errno == ENODATA) continue;
    if (size < 0) return -errno;
    // The same value may be there by itself, as a label is, and not be ours to set.
    char* there = value + kMostBytes;
    if (fgetxattr(to, name, there, kMostBytes) == size && memcmp(there, value, size) == 0) continue;
    if (fsetxattr(to, name, value, size, 0) < 0) return -errno;
  }
  // A folder's default list is the new file's, and the old one may have none.
  if (!has_access_list && fremovexattr(to, kAccessList) < 0 && errno != ENODATA && errno != ENOTSUP) return -errno;
  return 0;
}

}  // namespace

// copyAttributes(from: number, to: number): number 0 | negative errno
int CopyAttributes(Napi::Env, int from, int to) {
  // Most files have none, and need no memory.
  ssize_t there = flistxattr(to, nullptr, 0);
  ssize_t length = flistxattr(from, nullptr, 0);
  if ((length == 0 || (length < 0 && errno == ENOTSUP)) && there <= 0) return 0;
  char* memory = static_cast<char*>(malloc(3 * kMostBytes));
  if (memory == nullptr) return -ENOMEM;
  int result = copy_all(from, to, memory, memory + kMostBytes);
  free(memory);
  return result;
}
