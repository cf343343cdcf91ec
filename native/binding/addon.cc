// What `require` returns: the class and the lists. One instance for each environment (main thread,
// worker threads); nothing is shared between them.
#include "binding/native_datapath.h"
#include "binding/records.h"

namespace pollux {
namespace {

class Pollux : public Napi::Addon<Pollux> {
 public:
  Pollux(Napi::Env env, Napi::Object exports) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("popcnt") == 0) {
      throw Napi::Error::New(env, "this processor lacks POPCNT, which Pollux is compiled for");
    }
#endif
    DefineAddon(exports, {
                             InstanceValue("NativeDatapath", NativeDatapath::Define(env)),
                             InstanceValue("defaultOptions", DefaultOptionsToJs(env)),
                             InstanceValue("dropReasons", DropReasonsToJs(env)),
                             InstanceValue("rxErrors", RxErrorsToJs(env)),
                             InstanceValue("flowFields", FlowFieldsToJs(env)),
                             InstanceValue("recordLayouts", RecordLayoutsToJs(env)),
                             InstanceMethod<&Pollux::PortTypes>("portTypes"),
                             InstanceMethod<&Pollux::ProbeMachine>("probeMachine"),
                             InstanceMethod<&Pollux::Links>("links"),
                             InstanceMethod<&Pollux::FreeBytes>("freeBytes"),
                             InstanceMethod<&Pollux::EncodeKey>("encodeKey"),
                             InstanceMethod<&Pollux::EncodeMatch>("encodeMatch"),
                             InstanceMethod<&Pollux::UfidOf>("ufidOf"),
                         });
  }

 private:
  // A method: the answer may change while the process runs.
  Napi::Value PortTypes(const Napi::CallbackInfo& info) { return PortTypesToJs(info.Env()); }
  // What works on this machine: an errno, negative, or 0 for each probe.
  Napi::Value ProbeMachine(const Napi::CallbackInfo& info) { return ProbesToJs(info.Env()); }
  Napi::Value Links(const Napi::CallbackInfo& info) { return LinksToJs(info.Env()); }
  // (key)
  Napi::Value FreeBytes(const Napi::CallbackInfo& info) {
    return FreeBytesToJs(info.Env(), BytesFromJs(info[0]));
  }
  // (key, mask)
  Napi::Value EncodeMatch(const Napi::CallbackInfo& info) {
    return EncodedMatchToJs(info.Env(), BytesFromJs(info[0]), BytesFromJs(info[1]));
  }
  // (key, mask)
  Napi::Value UfidOf(const Napi::CallbackInfo& info) {
    return UfidToJs(info.Env(), BytesFromJs(info[0]), BytesFromJs(info[1]));
  }
  // (key)
  Napi::Value EncodeKey(const Napi::CallbackInfo& info) {
    return EncodedKeyToJs(info.Env(), BytesFromJs(info[0]));
  }
};

NODE_API_ADDON(Pollux)

}  // namespace
}  // namespace pollux
