{
  "targets": [
    {
      "target_name": "mmap",
      "sources": ["src/addon.cc", "src/environment.cc", "src/thread.cc", "src/posix/posix.cc", "src/posix/sigbus.cc"],
      "defines": ["NAPI_VERSION=8", "_FILE_OFFSET_BITS=64"],
      "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-fvisibility=hidden"],
      # Node unloads an addon with its last worker. The signal handler has to stay.
      "ldflags": ["-Wl,-z,nodelete", "-pthread"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
        "OTHER_CPLUSPLUSFLAGS": ["-Wall", "-Wextra"],
      },
    }
  ]
}
