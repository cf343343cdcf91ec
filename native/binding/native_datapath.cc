#include "binding/native_datapath.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "changes/verdict_reader.h"

namespace pollux {
namespace {

// Changes whose memory is kept from one call to the next.
constexpr std::size_t kKeptChanges = 8192;
// Places of the flow table that a call looks at.
constexpr std::size_t kDumpPlaces = 8192;
constexpr std::uint32_t kMaxAnswers = 1 << 20;

PortId IdFromJs(const Napi::Value& value) { return PortId{U32FromJs(value)}; }

std::uint32_t SnapLengthFromJs(const Napi::Object& options) {
  const Napi::Value value = options.Get("snapLength");
  return value.IsUndefined() ? kWholeFrame : U32FromJs(value);
}

Napi::Value InfoToJs(Napi::Env env, const PortInfo& info) { return ToJs(env, info); }

}  // namespace

Napi::Function NativeDatapath::Define(Napi::Env env) {
  using Self = NativeDatapath;
  return DefineClass(env, "NativeDatapath",
                     {
                         InstanceMethod<&Self::AddPort>("addPort"),
                         InstanceMethod<&Self::DeletePort>("deletePort"),
                         InstanceMethod<&Self::RenumberPort>("renumberPort"),
                         InstanceMethod<&Self::Reload>("reload"),
                         InstanceMethod<&Self::SetOptions>("setOptions"),
                         InstanceMethod<&Self::Settle>("settle"),
                         InstanceMethod<&Self::Advance>("advance"),
                         InstanceMethod<&Self::Close>("close"),
                         InstanceMethod<&Self::Port>("port"),
                         InstanceMethod<&Self::GetPortStats>("portStats"),
                         InstanceMethod<&Self::Inject>("inject"),
                         InstanceMethod<&Self::Drain>("drain"),
                         InstanceMethod<&Self::Execute>("execute"),
                         InstanceMethod<&Self::Trace>("trace"),
                         InstanceMethod<&Self::Stats>("stats"),
                         InstanceMethod<&Self::FlowApply>("flowApply"),
                         InstanceMethod<&Self::LearnText>("learnText"),
                         InstanceMethod<&Self::FlowFind>("flowFind"),
                         InstanceMethod<&Self::FlowDump>("flowDump"),
                         InstanceMethod<&Self::FlowClear>("flowClear"),
                         InstanceMethod<&Self::FlowSize>("flowSize"),
                         InstanceMethod<&Self::TakeEvents>("takeEvents"),
                         InstanceMethod<&Self::SetUpcallConsumer>("setUpcallConsumer"),
                         InstanceMethod<&Self::TakeUpcalls>("takeUpcalls"),
                         InstanceMethod<&Self::AnswerUpcalls>("answerUpcalls"),
                         InstanceMethod<&Self::Signal>("signal"),
                         InstanceMethod<&Self::SetRef>("setRef"),
                     });
}

NativeDatapath::NativeDatapath(Info info) : Napi::ObjectWrap<NativeDatapath>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject() || !info[1].IsFunction()) {
    Throw(env, Invalid("expected options and a function"));
  }
  const auto object = info[0].As<Napi::Object>();
  DatapathOptions options = OptionsFromJs(object);
  snap_length_ = SnapLengthFromJs(object);
  bridge_ = EventBridge::Open(env, ValueOrThrow(env, Datapath::Create(std::move(options))),
                              info[1].As<Napi::Function>(), [this] { Unref(); });
  // Until closed: an open datapath is at work, whether or not anybody holds it.
  Ref();
}

Datapath& NativeDatapath::Live(Napi::Env env) const {
  if (Datapath* const datapath = bridge_->datapath()) return *datapath;
  Error error;
  error.code = "ERR_DATAPATH_CLOSED";
  error.message = "the datapath is closed";
  Throw(env, error);
}

// ----------------------------------------------------------------- commands

Napi::Value NativeDatapath::AddPort(Info info) {
  Datapath& datapath = Live(info.Env());
  PortSpec spec = PortSpecFromJs(info[0].As<Napi::Object>());
  return bridge_->Run<PortInfo>(
      [&](auto done) { datapath.AddPort(std::move(spec), std::move(done)); }, InfoToJs);
}

Napi::Value NativeDatapath::DeletePort(Info info) {
  Datapath& datapath = Live(info.Env());
  const PortId id = IdFromJs(info[0]);
  return bridge_->RunStatus([&](auto done) { datapath.DeletePort(id, std::move(done)); });
}

Napi::Value NativeDatapath::RenumberPort(Info info) {
  Datapath& datapath = Live(info.Env());
  const PortId id = IdFromJs(info[0]);
  const std::uint32_t number = U32FromJs(info[1]);
  return bridge_->Run<PortInfo>(
      [&](auto done) { datapath.RenumberPort(id, number, std::move(done)); }, InfoToJs);
}

Napi::Value NativeDatapath::Reload(Info info) {
  using Reports = std::vector<ReloadReport>;
  Datapath& datapath = Live(info.Env());
  std::optional<std::uint32_t> core;
  if (!info[0].IsUndefined()) core = CoreFromJs(info[0]);
  return bridge_->Run<Reports>(
      [&](auto done) { datapath.Reload(core, std::move(done)); },
      [](Napi::Env env, const Reports& reports) { return ToJs(env, reports); });
}

Napi::Value NativeDatapath::SetOptions(Info info) {
  Datapath& datapath = Live(info.Env());
  const auto object = info[0].As<Napi::Object>();
  DatapathOptions options = OptionsFromJs(object);
  const std::uint32_t snap_length = SnapLengthFromJs(object);
  return bridge_->RunStatus(
      [&](auto done) { datapath.SetOptions(std::move(options), std::move(done)); },
      [this, snap_length] { snap_length_ = snap_length; });
}

Napi::Value NativeDatapath::Settle(Info info) {
  Datapath& datapath = Live(info.Env());
  return bridge_->RunStatus([&](auto done) { datapath.Settle(std::move(done)); });
}

Napi::Value NativeDatapath::Advance(Info info) {
  Datapath& datapath = Live(info.Env());
  const std::uint32_t ms = U32FromJs(info[0]);
  return bridge_->RunStatus([&](auto done) { datapath.Advance(ms, std::move(done)); });
}

Napi::Value NativeDatapath::Close(Info info) {
  Live(info.Env());
  return bridge_->Close();
}

// ------------------------------------------------------------ ports, packets

Napi::Value NativeDatapath::Port(Info info) {
  const Result<PortInfo> port = Live(info.Env()).port(IdFromJs(info[0]));
  return port.ok() ? ToJs(info.Env(), port.value()) : info.Env().Undefined();
}

Napi::Value NativeDatapath::GetPortStats(Info info) {
  return ToJs(info.Env(), ValueOrThrow(info.Env(), Live(info.Env()).port_stats(IdFromJs(info[0]))));
}

Napi::Value NativeDatapath::Inject(Info info) {
  Datapath& datapath = Live(info.Env());
  const PortId id = IdFromJs(info[0]);
  const std::uint32_t rxq = U32FromJs(info[1]);
  std::vector<Bytes> frames;
  if (info[2].IsArray()) {
    // All elements before the bytes of any: a getter may do what it likes to the others.
    const auto array = info[2].As<Napi::Array>();
    std::vector<Napi::Value> elements;
    for (std::uint32_t i = 0; i < array.Length(); ++i) elements.push_back(array.Get(i));
    for (const Napi::Value& element : elements) frames.push_back(BytesFromJs(element));
  } else {
    frames.push_back(BytesFromJs(info[2]));
  }
  const std::size_t took = ValueOrThrow(info.Env(), datapath.Inject(id, rxq, frames));
  return Napi::Number::New(info.Env(), static_cast<double>(took));
}

Napi::Value NativeDatapath::Drain(Info info) {
  std::vector<PacketPtr> packets;
  const PortId id = IdFromJs(info[0]);
  const std::uint32_t max = U32FromJs(info[1]);
  ValueOrThrow(info.Env(), Live(info.Env()).Drain(id, max, packets));
  return ToJs(info.Env(), packets);
}

// (frame, actions, port?, report): the frame; with `report`, {frame, steps}
Napi::Value NativeDatapath::Execute(Info info) {
  Datapath& datapath = Live(info.Env());
  const bool report = info[3].ToBoolean();
  std::vector<TraceStep> steps;
  const PortNumber in_port = info[2].IsUndefined() ? kNoPort : PortNumber{U32FromJs(info[2])};
  const std::vector<std::uint8_t> frame =
      ValueOrThrow(info.Env(), datapath.Execute(BytesFromJs(info[0]), BytesFromJs(info[1]), in_port,
                                                report ? &steps : nullptr));
  const auto bytes = Napi::Buffer<std::uint8_t>::Copy(info.Env(), frame.data(), frame.size());
  if (!report) return bytes;
  Napi::Object answer = Napi::Object::New(info.Env());
  answer["frame"] = bytes;
  answer["steps"] = ToJs(info.Env(), steps);
  return answer;
}

// (frame, port, seed)
Napi::Value NativeDatapath::Trace(Info info) {
  Datapath& datapath = Live(info.Env());
  return ToJs(info.Env(), ValueOrThrow(info.Env(), datapath.Trace(BytesFromJs(info[0]),
                                                                  PortNumber{U32FromJs(info[1])},
                                                                  U32FromJs(info[2]))));
}

Napi::Value NativeDatapath::Stats(Info info) { return ToJs(info.Env(), Live(info.Env()).stats()); }

// -------------------------------------------------------------------- flows

// (headers, payload, texts, max_unread, atomic, out): a Uint32Array of the changes whose texts are
// to be read above, up to max_unread, and nothing is done; or the Errors.
Napi::Value NativeDatapath::FlowApply(Info info) {
  const Napi::Env env = info.Env();
  Datapath& datapath = Live(env);
  const ChangeRecords records{BytesFromJs(info[0]), BytesFromJs(info[1]), BytesFromJs(info[2])};
  const std::uint32_t max_unread = U32FromJs(info[3]);
  const bool atomic = info[4].ToBoolean();
  const std::span<std::uint8_t> out = OutputFromJs(info[5]);

  FlowChanges changes = std::move(changes_);
  std::vector<std::uint32_t> unread;
  changes.Clear();
  if (!reader_.Read(records, changes, max_unread, unread))
    Throw(env, Invalid("a flow record is cut short"));
  Napi::Value answer = env.Undefined();
  if (unread.empty()) {
    answer = OutcomesToJs(env, datapath.flows().Apply(changes, atomic), out);
  } else {
    auto places = Napi::Uint32Array::New(env, unread.size());
    std::copy(unread.begin(), unread.end(), places.Data());
    answer = places;
  }
  changes.Clear();
  if (changes.capacity() <= kKeptChanges) changes_ = std::move(changes);
  return answer;
}

// (text, values, key, mask)
void NativeDatapath::LearnText(Info info) {
  Live(info.Env());
  const Bytes text = BytesFromJs(info[0]);
  reader_.texts().Learn({reinterpret_cast<const char*>(text.data()), text.size()},
                        TextValuesFromJs(info[1]), BytesFromJs(info[2]), BytesFromJs(info[3]));
}

// (header, payload): the flow that a deletion with this record would delete.
Napi::Value NativeDatapath::FlowFind(Info info) {
  const Napi::Env env = info.Env();
  Datapath& datapath = Live(env);
  const ChangeRecords records{BytesFromJs(info[0]), BytesFromJs(info[1]), {}};
  FlowChanges named;
  std::vector<std::uint32_t> unread;
  if (!reader_.Read(records, named, 1, unread) || named.size() != 1)
    Throw(env, Invalid("expected one flow record"));
  if (named[0].kind == PackedChange::Kind::kRefused) Throw(env, named.ErrorOf(named[0]));
  const std::optional<FlowView> flow = datapath.flows().Find(named[0], named.KeyOf(named[0]));
  if (!flow.has_value()) return env.Undefined();
  return ToJs(env, std::vector<FlowView>{*flow}, datapath.now_ms());
}

// (cursor, n, core?, port?): {cursor, slab}, no slab at the end; undefined: no such core. The slab
// may be empty: where there are hardly any flows, or none of the port, no call takes long.
Napi::Value NativeDatapath::FlowDump(Info info) {
  const Napi::Env env = info.Env();
  Datapath& datapath = Live(env);
  std::size_t cursor = U32FromJs(info[0]);
  const std::uint32_t n = U32FromJs(info[1]);
  std::optional<std::size_t> slot;
  if (!info[2].IsUndefined()) {
    slot = datapath.slot_of(CoreFromJs(info[2]));
    if (!slot.has_value()) return env.Undefined();
  }
  const std::size_t before = cursor;
  std::vector<FlowView> flows = datapath.flows().Dump(cursor, n, slot, kDumpPlaces);
  if (!info[3].IsUndefined()) {
    std::erase_if(flows, [port = U32FromJs(info[3])](const FlowView& flow) {
      return flow.match().key.in_port != port;
    });
  }
  Napi::Object answer = Napi::Object::New(env);
  answer["cursor"] = static_cast<double>(cursor);
  if (cursor != before) answer["slab"] = ToJs(env, flows, datapath.now_ms());
  return answer;
}

Napi::Value NativeDatapath::FlowClear(Info info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Live(info.Env()).flows().Clear()));
}

Napi::Value NativeDatapath::FlowSize(Info info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Live(info.Env()).flows().size()));
}

// -------------------------------------------------------- events and upcalls

Napi::Value NativeDatapath::TakeEvents(Info info) {
  Datapath& datapath = Live(info.Env());
  return ToJs(info.Env(), datapath.TakeEvents(), datapath.now_ms());
}

void NativeDatapath::SetUpcallConsumer(Info info) {
  Live(info.Env()).SetUpcallConsumer(info[0].ToBoolean());
}

Napi::Value NativeDatapath::TakeUpcalls(Info info) {
  const Napi::Env env = info.Env();
  std::uint64_t dropped = 0;
  const std::vector<UpcallView> upcalls = Live(env).TakeUpcalls(U32FromJs(info[0]), dropped);
  return ToJs(env, upcalls, snap_length_, dropped);
}

// (first, count, headers, payload): a list of [index, Error] for those that could not be carried
// out. What is gone already (ENOENT) is not told: its packet has been dropped and counted by
// whoever took it away.
Napi::Value NativeDatapath::AnswerUpcalls(Info info) {
  const Napi::Env env = info.Env();
  Datapath& datapath = Live(env);
  const auto first = static_cast<std::uint64_t>(info[0].As<Napi::Number>().Int64Value());
  const std::uint32_t count = std::min(U32FromJs(info[1]), kMaxAnswers);
  std::vector<UpcallVerdict> verdicts(count);
  for (std::uint32_t i = 0; i < count; ++i) verdicts[i].id = UpcallId{first + i};
  if (Status status = ReadVerdicts(BytesFromJs(info[2]), BytesFromJs(info[3]), verdicts);
      !status.ok())
    Throw(env, status.error());
  const std::vector<Status> statuses = datapath.AnswerUpcalls(verdicts);
  Napi::Value failures = env.Undefined();
  for (std::uint32_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].ok() || statuses[i].error().number == ENOENT) continue;
    if (failures.IsUndefined()) failures = Napi::Array::New(env);
    Napi::Array failure = Napi::Array::New(env, 2);
    failure.Set(0u, i);
    failure.Set(1u, ErrorToJs(env, statuses[i].error()));
    failures.As<Napi::Array>().Set(failures.As<Napi::Array>().Length(), failure);
  }
  return failures;
}

void NativeDatapath::Signal(Info info) { Live(info.Env()).Signal(); }

void NativeDatapath::SetRef(Info info) { bridge_->Ref(info[0].ToBoolean()); }

}  // namespace pollux
