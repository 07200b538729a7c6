{
  "targets": [
    {
      # scripts/build-windows.mjs compiles it, on Linux with GCC: node-gyp would take MSVC, and need Windows.
      "target_name": "iocp",
      "sources": ["src/addon.cc", "src/calls.cc", "src/iocp.cc", "src/socket-addon.cc", "src/sockets.cc", "src/streams.cc"],
      "include_dirs": ["node_modules/node-addon-api", "node_modules/@kiruna/priority/include"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS"],
      "libraries": ["-lntdll", "-lws2_32"],
    }
  ]
}
