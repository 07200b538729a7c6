{
  "targets": [
    {
      "target_name": "dispatch",
      "sources": ["src/dispatch.cc", "src/sockets.cc", "src/sources.cc"],
      "include_dirs": ["node_modules/node-addon-api", "node_modules/@kiruna/priority/include"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
        "OTHER_CPLUSPLUSFLAGS": ["-Wall", "-Wextra"],
      },
    }
  ]
}
