// What JavaScript gives to a function of the addon, and gets.
#pragma once
#include <stdlib.h>

#include "iocp.h"

constexpr size_t kMostArguments = 7;

struct Arguments {
  explicit Arguments(napi_env env, napi_callback_info info) : env(env) {
    size_t count = kMostArguments;
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }

  double number(int index) const {
    double value = 0;
    napi_get_value_double(env, values[index], &value);
    return value;
  }

  uint32_t word(int index) const { return static_cast<uint32_t>(number(index)); }

  wchar_t* string(int index) const {
    size_t length = 0;
    napi_get_value_string_utf16(env, values[index], nullptr, 0, &length);
    auto* text = static_cast<wchar_t*>(malloc((length + 1) * sizeof(wchar_t)));
    napi_get_value_string_utf16(env, values[index], reinterpret_cast<char16_t*>(text), length + 1, &length);
    return text;
  }

  // What does not fit is cut off.
  void utf8(int index, char* text, size_t size) const {
    text[0] = '\0';
    napi_get_value_string_utf8(env, values[index], text, size, nullptr);
  }

  int integer(int index) const { return static_cast<int>(number(index)); }

  // A Uint8Array's.
  void memory(int index, Operation* operation) const {
    size_t length = 0;
    napi_get_typedarray_info(env, values[index], nullptr, &length, &operation->memory, nullptr, nullptr);
    operation->length = static_cast<DWORD>(length);
  }

  // The first two: the slot, and the caller's rank.
  Operation* operation() const { return operation_at(environment_of(env), word(0), static_cast<int>(number(1))); }

  File* file(int index) const { return file_at(environment_of(env), word(index)); }

  SOCKET socket(int index) const {
    Environment* environment = environment_of(env);
    return word(index) < environment->socket_count ? environment->sockets[word(index)] : INVALID_SOCKET;
  }

  napi_env env;
  napi_value values[kMostArguments];
};

inline napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}
