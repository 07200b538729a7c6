// Linked into every addon for Windows. Node-API and libuv are imported from "node.exe", late: the first call finds the
// program that has loaded the addon, whatever its name is. Electron's is the app's.
// https://learn.microsoft.com/cpp/build/reference/notification-hooks
#include <windows.h>

#include <delayimp.h>
#include <string.h>

static FARPROC WINAPI find_host(unsigned notification, PDelayLoadInfo info) {
  if (notification != dliNotePreLoadLibrary || _stricmp(info->szDll, "node.exe") != 0) return nullptr;
  return reinterpret_cast<FARPROC>(GetModuleHandleW(nullptr));
}

extern "C" {
PfnDliHook __pfnDliNotifyHook2 = find_host;
}
