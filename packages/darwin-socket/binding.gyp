{
  "targets": [
    {
      "target_name": "dispatch",
      "sources": ["src/dispatch.cc", "src/sockets.cc", "src/sources.cc"],
      "defines": ["NAPI_VERSION=8"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
        "OTHER_CPLUSPLUSFLAGS": ["-Wall", "-Wextra"],
      },
    }
  ]
}
