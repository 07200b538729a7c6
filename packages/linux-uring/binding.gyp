{
  "targets": [
    {
      "target_name": "uring",
      "sources": ["src/setup.cc", "src/sockets.cc", "src/uring.cc"],
      "defines": ["NAPI_VERSION=8"],
      "cflags_cc": ["-std=c++20", "-Wall", "-Wextra", "-fvisibility=hidden"],
    }
  ]
}
