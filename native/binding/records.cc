#include "binding/records.h"

#include "changes/records.h"

// Some records are no standard-layout types, for they have a common beginning: GCC and clang know
// where their members are all the same.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace pollux {
namespace {

struct Entry {
  const char* name;
  std::size_t value;
};

Napi::Object EntriesToJs(Napi::Env env, std::initializer_list<Entry> entries) {
  Napi::Object object = Napi::Object::New(env);
  for (const Entry& entry : entries) object[entry.name] = static_cast<double>(entry.value);
  return object;
}

}  // namespace

Napi::Value RecordLayoutsToJs(Napi::Env env) {
  Napi::Object layouts = Napi::Object::New(env);
  layouts["change"] = EntriesToJs(env, {{"size", sizeof(ChangeHeader)},
                                        {"flags", offsetof(ChangeHeader, flags)},
                                        {"keyAt", offsetof(ChangeHeader, key_at)},
                                        {"keySize", offsetof(ChangeHeader, key_size)},
                                        {"maskSize", offsetof(ChangeHeader, mask_size)},
                                        {"actionsAt", offsetof(ChangeHeader, actions_at)},
                                        {"actionsSize", offsetof(ChangeHeader, actions_size)},
                                        {"timeoutMs", offsetof(ChangeHeader, timeout_ms)},
                                        {"ufid", offsetof(ChangeHeader, ufid)}});
  layouts["changeFlags"] = EntriesToJs(env, {{"put", ChangeHeader::kPut},
                                             {"byUfid", ChangeHeader::kByUfid},
                                             {"timeout", ChangeHeader::kTimeout},
                                             {"replace", ChangeHeader::kReplace},
                                             {"create", ChangeHeader::kCreate},
                                             {"text", ChangeHeader::kText}});
  // What else a verdict has is where a change has it.
  layouts["verdict"] = EntriesToJs(
      env, {{"size", sizeof(VerdictHeader)}, {"place", offsetof(VerdictHeader, place)}});
  layouts["verdictFlags"] = EntriesToJs(env, {{"install", VerdictHeader::kInstall},
                                              {"timeout", VerdictHeader::kTimeout},
                                              {"exact", VerdictHeader::kExact}});
  layouts["outcome"] =
      EntriesToJs(env, {{"deleted", static_cast<std::size_t>(FlowOutcomes::Kind::kDeleted)},
                        {"put", static_cast<std::size_t>(FlowOutcomes::Kind::kPut)},
                        {"failed", static_cast<std::size_t>(FlowOutcomes::Kind::kFailed)},
                        {"ufidText", kUfidText}});
  layouts["flow"] = EntriesToJs(env, {{"size", sizeof(FlowRecord)},
                                      {"keySize", offsetof(FlowRecord, key_size)},
                                      {"maskSize", offsetof(FlowRecord, mask_size)},
                                      {"actionsSize", offsetof(FlowRecord, actions_size)},
                                      {"flags", offsetof(FlowRecord, flags)},
                                      {"packets", offsetof(FlowRecord, packets)},
                                      {"bytes", offsetof(FlowRecord, bytes)},
                                      {"usedMs", offsetof(FlowRecord, used_ms)},
                                      {"idleTimeoutMs", offsetof(FlowRecord, idle_timeout_ms)},
                                      {"ufid", offsetof(FlowRecord, ufid)}});
  layouts["flowFlags"] = EntriesToJs(
      env, {{"offloaded", FlowRecord::kOffloaded}, {"reasonShift", FlowRecord::kDepartureShift}});
  layouts["upcall"] = EntriesToJs(env, {{"size", sizeof(UpcallRecord)},
                                        {"reason", offsetof(UpcallRecord, reason)},
                                        {"port", offsetof(UpcallRecord, port)},
                                        {"wireLength", offsetof(UpcallRecord, wire_length)},
                                        {"frameSize", offsetof(UpcallRecord, frame_size)},
                                        {"keySize", offsetof(UpcallRecord, key_size)},
                                        {"userdataSize", offsetof(UpcallRecord, userdata_size)},
                                        {"hasUserdata", offsetof(UpcallRecord, has_userdata)}});
  return layouts;
}

}  // namespace pollux
