{
  "targets": [
    {
      "target_name": "mmap",
      "sources": ["src/addon.cc", "src/environment.cc", "src/step.cc", "src/thread.cc"],
      "include_dirs": ["node_modules/node-addon-api", "node_modules/@kiruna/priority/include"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS"],
      "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-fvisibility=hidden"],
      # Node unloads an addon with its last worker. The signal handler has to stay.
      "ldflags": ["-Wl,-z,nodelete", "-pthread"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
        "OTHER_CPLUSPLUSFLAGS": ["-Wall", "-Wextra"],
      },
      # For Windows scripts/build-windows.mjs compiles it, with GCC: node-gyp would take MSVC there.
      "conditions": [
        [
          "OS=='win'",
          {"sources": ["src/win/fault.cc", "src/win/win.cc"]},
          {"sources": ["src/posix/posix.cc", "src/posix/sigbus.cc"], "defines": ["_FILE_OFFSET_BITS=64"]},
        ],
      ],
    }
  ]
}
