{
  "targets": [
    {
      "target_name": "uring",
      "sources": ["src/setup.cc", "src/sockets.cc", "src/uring.cc", "src/xattr.cc"],
      "include_dirs": ["node_modules/node-addon-api", "node_modules/@kiruna/priority/include"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS"],
      "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-fvisibility=hidden"],
    }
  ]
}
