// What every addon needs: functions for JavaScript, and its data for each environment, that is for each JavaScript
// thread: a worker loads the addon again.
#pragma once
// A worker can be terminated within one of our functions. From then on nothing can be thrown or caught.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>
#include <stdlib.h>
#include <uv.h>
#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <initializer_list>
#include <new>
#include <type_traits>
#include <utility>

namespace kiruna {

// A process that ends waits no longer than this for a disk that does not answer. A worker waits as long as it takes.
constexpr int64_t kExitTimeoutMs = 1000;

// The memory of a Uint8Array, which JavaScript holds; empty if the value is not one.
struct Bytes {
  char* data = nullptr;
  size_t length = 0;
};

// A string in UTF-8, with a 0 at its end, truncated to fit.
struct Text {
  char data[256] = {};
  size_t length = 0;
};

// Converts a value from JavaScript to the type of a parameter.
template <typename Type> Type argument(Napi::Value value) {
  if constexpr (std::is_same_v<Type, bool>) {
    return value.As<Napi::Boolean>().Value();
  } else if constexpr (std::is_integral_v<Type> || std::is_enum_v<Type>) {
    return static_cast<Type>(value.As<Napi::Number>().Int64Value());
  } else {
    return value.As<Type>();
  }
}

template <> inline Bytes argument(Napi::Value value) {
  Bytes bytes;
  void* data = nullptr;
  napi_get_typedarray_info(value.Env(), value, nullptr, &bytes.length, &data, nullptr, nullptr);
  bytes.data = static_cast<char*>(data);
  return bytes;
}

template <> inline Text argument(Napi::Value value) {
  Text text;
  napi_get_value_string_utf8(value.Env(), value, text.data, sizeof text.data, &text.length);
  return text;
}

template <typename Result, typename... Types, size_t... index>
napi_value call(Result (*function)(Napi::Env, Types...), napi_env env, const napi_value* given,
                std::index_sequence<index...>) {
  if constexpr (std::is_void_v<Result>) {
    function(env, argument<Types>({env, given[index]})...);
    return nullptr;
  } else {
    return Napi::Value::From(env, function(env, argument<Types>({env, given[index]})...));
  }
}

template <typename Result, typename... Types>
napi_value call(Result (*function)(Napi::Env, Types...), napi_env env, napi_callback_info info) {
  size_t count = sizeof...(Types);
  napi_value given[sizeof...(Types) + 1];
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  return call(function, env, given, std::index_sequence_for<Types...>());
}

// Makes a JavaScript function from one that takes the environment, then JavaScript's arguments. A call takes half of
// the time that one with a Napi::CallbackInfo does.
template <auto function> napi_value method(napi_env env, napi_callback_info info) { return call(function, env, info); }

struct Method {
  const char* name;
  napi_callback function;
};

inline void add_methods(Napi::Object exports, std::initializer_list<Method> methods) {
  for (const auto& [name, function] : methods) {
    napi_value value;
    napi_create_function(exports.Env(), name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    exports.Set(name, value);
  }
}

#ifndef _WIN32
// Node.js unloads an addon with its last worker, while a thread or a signal handler may still return into it.
inline void keep_loaded() {
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(keep_loaded), &self) != 0) dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
}
#endif

// In which order the addons of one environment stop. Node.js runs cleanup hooks last in, first out, but what is freed
// must not depend on who was set up first: a ring may still be reading into a mapping.
enum class Phase : uint8_t {
  kDrain,  // waits until the system writes into no memory any more
  kFree,   // frees memory that others may have given to the system
};

// All addons of one environment, whatever package they are of. Whoever's hook runs first stops them all.
struct Teardown {
  static constexpr int kMost = 16;
  struct Entry {
    bool (*stop)(void* own, bool has_drained);
    void* own;
    Phase phase;
    bool has_stopped;
    bool has_drained;
  };
  Entry entries[kMost];
  int count;
  int open;          // of them not ended
  bool has_drained;  // all of those that are to drain have

  // The environment's, which a property of its global object holds; none if there is no memory.
  static Teardown* of(Napi::Env env) {
    // Version 1 of this struct.
    static constexpr napi_type_tag kTag = {0x6b6972756e612f31, 0x7465617264776e31};
    napi_value global = env.Global(), name, symbol, held;
    bool is_ours = false;
    napi_create_string_utf8(env, "@kiruna/teardown/1", NAPI_AUTO_LENGTH, &name);
    if (napi_value description = name; node_api_symbol(env, description, &symbol) != napi_ok) return nullptr;
    napi_get_property(env, global, symbol, &held);
    void* teardown = nullptr;
    napi_valuetype type;
    if (napi_typeof(env, held, &type) == napi_ok && type == napi_external &&
        napi_check_object_type_tag(env, held, &kTag, &is_ours) == napi_ok && is_ours)
      napi_get_value_external(env, held, &teardown);
    if (teardown != nullptr) return static_cast<Teardown*>(teardown);
    teardown = calloc(1, sizeof(Teardown));
    if (teardown == nullptr || napi_create_external(env, teardown, nullptr, nullptr, &held) != napi_ok) return nullptr;
    napi_type_tag_object(env, held, &kTag);
    // Neither enumerable nor writable: only we use it.
    napi_property_descriptor property = {nullptr, symbol, nullptr, nullptr, nullptr, held, napi_default, nullptr};
    napi_define_properties(env, global, 1, &property);
    return static_cast<Teardown*>(teardown);
  }

  void add(bool (*stop)(void*, bool), void* own, Phase phase) {
    if (count == kMost) return;
    entries[count++] = {stop, own, phase, false, false};
    open++;
  }

  // Stops all that have not stopped. What has been set up later stops first, within a phase.
  void stop_all() {
    has_drained = true;
    for (Phase phase : {Phase::kDrain, Phase::kFree}) {
      for (int i = count - 1; i >= 0; i--) {
        Entry& entry = entries[i];
        if (entry.phase != phase || entry.has_stopped) continue;
        entry.has_stopped = true;
        entry.has_drained = entry.stop(entry.own, has_drained);
      }
      for (int i = 0; i < count; i++)
        if (entries[i].phase == phase && !entries[i].has_drained) has_drained = false;
    }
  }

  Entry* entry_of(void* own) {
    for (int i = 0; i < count; i++)
      if (entries[i].own == own) return &entries[i];
    return nullptr;
  }

private:
  // Symbol.for(description)
  static napi_status node_api_symbol(Napi::Env env, napi_value description, napi_value* symbol) {
    napi_value global = env.Global(), constructor, look_up;
    napi_status status = napi_get_named_property(env, global, "Symbol", &constructor);
    if (status == napi_ok) status = napi_get_named_property(env, constructor, "for", &look_up);
    if (status == napi_ok) status = napi_call_function(env, constructor, look_up, 1, &description, symbol);
    return status;
  }
};

// An addon's data for an environment. `Own` is derived from this, and has
//
//     static constexpr const char* kName;  // of its async context
//     static constexpr Phase kPhase;       // optional: kFree if others may have given its memory to the system
//     int start();                         // called when all of this is in place; returns 0 or a negative errno
//     bool stop();                         // cancels and drains, then frees what it may; returns whether it has drained
//     void closed();                       // optional: the handle has been closed
//
// The environment can end at any moment, with anything under way. Then the order is: stop, for all addons of the
// environment, see Teardown; the instance data, the handle, the async context, the callback, the hook. If it has not
// drained, it is never freed, since threads may still use it.
template <typename Own, typename Handle = uv_async_t> struct InstanceData {
  napi_env env;
  bool is_main_thread;
  Handle wake;
  napi_ref on_ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;

  static constexpr Phase kPhase = Phase::kDrain;
  // Set before `stop`: the system writes into no memory any more, so that it may be freed.
  bool others_have_drained;

  // None before setup, and at the end.
  static Own* of(napi_env env) {
    void* own = nullptr;
    napi_get_instance_data(env, &own);
    return static_cast<Own*>(own);
  }

  // setup(onReady: () => void, isMainThread: boolean): 0 | negative errno. A send to `wake` calls onReady.
  static int Setup(Napi::Env env, Napi::Function on_ready, bool is_main_thread) {
    if (of(env) != nullptr) return UV_EBUSY;  // another copy of the package has it
    Own* own = create();
    auto ready = [](uv_async_t* wake) { static_cast<Own*>(wake->data)->call_back(); };
    int error = uv_async_init(loop_of(env), &own->wake, ready);
    if (error != 0) {
      free(own);
      return error;
    }
    own->begin(env, on_ready, is_main_thread);
    return own->start();
  }

  // ref(): operations under way keep the process alive.
  static void Ref(Napi::Env env) { uv_ref(of(env)->handle()); }

  // unref(): they do not.
  static void Unref(Napi::Env env) { uv_unref(of(env)->handle()); }

protected:
  static Own* create() { return new (calloc(1, sizeof(Own))) Own(); }

  static uv_loop_t* loop_of(napi_env env) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    return loop;
  }

  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(&wake); }

  // The handle is open.
  void begin(Napi::Env env, Napi::Function on_ready, bool is_main_thread) {
    Own* own = static_cast<Own*>(this);
    this->env = env;
    this->is_main_thread = is_main_thread;
    wake.data = own;
    uv_unref(handle());
    napi_async_init(env, Napi::Object::New(env), Napi::String::New(env, Own::kName), &context);
    napi_create_reference(env, on_ready, 1, &this->on_ready);
    napi_add_async_cleanup_hook(env, end, own, &hook);
    teardown = Teardown::of(env);
    auto stop = [](void* own, bool has_drained) {
      static_cast<Own*>(own)->others_have_drained = has_drained;
      return static_cast<Own*>(own)->stop();
    };
    if (teardown != nullptr) teardown->add(stop, own, Own::kPhase);
    napi_set_instance_data(env, own, nullptr, nullptr);
  }

  void call_back() {
    Napi::HandleScope scope(env);
    napi_value callback, receiver, result;
    napi_get_reference_value(env, on_ready, &callback);
    napi_get_global(env, &receiver);
    if (napi_make_callback(env, context, receiver, callback, 0, nullptr, &result) == napi_pending_exception) {
      napi_value error;
      napi_get_and_clear_last_exception(env, &error);
      napi_fatal_exception(env, error);
    }
  }

  void closed() {}

private:
  // Runs before the environment's memory is freed.
  static void end(napi_async_cleanup_hook_handle, void* data) {
    Own* own = static_cast<Own*>(data);
    own->has_drained = own->stop_with_others();
    napi_set_instance_data(own->env, nullptr, nullptr, nullptr);
    uv_close(own->handle(), [](uv_handle_t* wake) {
      Own* own = static_cast<Own*>(wake->data);
      own->closed();
      napi_async_destroy(own->env, own->context);
      napi_delete_reference(own->env, own->on_ready);
      napi_remove_async_cleanup_hook(own->hook);
      if (own->has_drained) free(own);
    });
  }

  bool stop_with_others() {
    Teardown::Entry* entry = teardown == nullptr ? nullptr : teardown->entry_of(static_cast<Own*>(this));
    if (entry == nullptr) {
      others_have_drained = true;
      return static_cast<Own*>(this)->stop();
    }
    teardown->stop_all();
    bool has_drained = entry->has_drained;
    if (--teardown->open == 0) ::free(teardown);
    return has_drained;
  }

  Teardown* teardown;
  bool has_drained;
};

}  // namespace kiruna
