// Values to JavaScript; see convert.h.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "actions/action_list.h"
#include "binding/convert.h"
#include "binding/records.h"
#include "changes/free_fields.h"
#include "classifier/packed_mask.h"
#include "flow/netlink.h"
#include "kernel/machine_probe.h"
#include "kernel/rtnetlink.h"

namespace pollux {
namespace {

static_assert(std::endian::native == std::endian::little, "slabs are read as little-endian");

using WordMap = std::array<std::uint64_t, 2>;  // Which words of a Flow there are, a bit for each.

// Appends to a byte string.
class Slab {
 public:
  template <typename T>
  void Number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    Append(&value, sizeof value);
  }
  void Append(Bytes bytes) { Append(bytes.data(), bytes.size()); }
  void Append(const void* data, std::size_t size) {
    if (size == 0) return;
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
  }
  void Reserve(std::size_t size) { bytes_.reserve(size); }
  Napi::Value ToJs(Napi::Env env) const {
    return Napi::Buffer<std::uint8_t>::Copy(env, bytes_.data(), bytes_.size());
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

Napi::Value ToBuffer(Napi::Env env, const std::vector<std::uint8_t>& bytes) {
  return Napi::Buffer<std::uint8_t>::Copy(env, bytes.data(), bytes.size());
}

// Writes kUfidText characters; returns where they end.
std::uint8_t* WriteUfid(const Ufid& ufid, std::uint8_t* out) {
  static constexpr auto kHex = [] {
    std::array<std::array<char, 2>, 256> hex{};
    for (std::size_t i = 0; i < hex.size(); ++i)
      hex[i] = {"0123456789abcdef"[i >> 4], "0123456789abcdef"[i & 15]};
    return hex;
  }();
  for (std::size_t i = 0; i < ufid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
    std::memcpy(out, kHex[ufid[i]].data(), 2);
    out += 2;
  }
  return out;
}

template <typename List, typename Convert>
Napi::Array ListToJs(Napi::Env env, const List& list, Convert convert) {
  Napi::Array array = Napi::Array::New(env, std::size(list));
  std::uint32_t i = 0;
  for (const auto& item : list) array.Set(i++, convert(item));
  return array;
}

Napi::Value CountersToJs(Napi::Env env, const std::uint64_t* counters, std::size_t n) {
  auto array = Napi::BigUint64Array::New(env, n);
  std::copy_n(counters, n, array.Data());
  return array;
}

const char* LinkText(LinkState link) {
  switch (link) {
    case LinkState::kUp:
      return "up";
    case LinkState::kDown:
      return "down";
    case LinkState::kGone:
      return "gone";
  }
  return "up";
}

const char* EventText(Event::Kind kind) {
  switch (kind) {
    case Event::Kind::kPortUp:
      return "portUp";
    case Event::Kind::kPortDown:
      return "portDown";
    case Event::Kind::kPortGone:
      return "portGone";
    case Event::Kind::kFlowsRemoved:
      return "flowsRemoved";
    case Event::Kind::kUpcallOverflow:
      return "upcallOverflow";
    case Event::Kind::kPortTrouble:
      return "portTrouble";
    case Event::Kind::kWarning:
      return "warning";
  }
  return "";
}

Napi::Object ToJs(Napi::Env env, const PmdStats& pmd) {
  Napi::Object object = Napi::Object::New(env);
  object["core"] = CoreToJs(env, pmd.core);
  object["numa"] = pmd.numa;
  object["rxqs"] = ListToJs(env, pmd.rxqs, [env](const PmdStats::Queue& queue) {
    Napi::Object entry = Napi::Object::New(env);
    entry["port"] = queue.port;
    entry["queue"] = queue.queue;
    entry["usagePercent"] = queue.usage_percent;
    return entry;
  });
  const std::uint64_t counters[] = {pmd.packets, pmd.emc_hits,     pmd.megaflow_hits,
                                    pmd.upcalls, pmd.lost_upcalls, pmd.reloads};
  object["counters"] = CountersToJs(env, counters, std::size(counters));
  object["cyclesPerPacket"] = pmd.cycles_per_packet;
  object["busyPercent"] = pmd.busy_percent;
  return object;
}

}  // namespace

// ------------------------------------------------------------------- errors

Napi::Object ErrorToJs(Napi::Env env, const Error& error) {
  Napi::Object object = Napi::Error::New(env, error.message).Value();
  if (error.number != 0) object["errno"] = -error.number;
  if (!error.code.empty()) object["code"] = error.code;
  if (!error.syscall.empty()) object["syscall"] = error.syscall;
  if (!error.port.empty()) object["port"] = error.port;
  if (!error.hint.empty()) object["hint"] = error.hint;
  return object;
}

void Throw(Napi::Env env, const Error& error) { throw Napi::Error(env, ErrorToJs(env, error)); }

// -------------------------------------------------------------------- plain

Napi::Value ToJs(Napi::Env env, std::uint64_t counter) { return Napi::BigInt::New(env, counter); }

Napi::Value CoreToJs(Napi::Env env, std::uint32_t core) {
  if (core == kNonPmdCore) return Napi::String::New(env, "non-pmd");
  return Napi::Number::New(env, core);
}

Napi::Object ToJs(Napi::Env env, const PortInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object["id"] = static_cast<std::uint32_t>(info.id);
  object["number"] = static_cast<std::uint32_t>(info.number);
  object["name"] = info.name;
  object["type"] = info.type;
  object["mode"] = info.mode;
  object["pmd"] = info.pmd;
  object["link"] = LinkText(info.link);
  return object;
}

Napi::Value ToJs(Napi::Env env, const PortStats& stats) {
  std::vector<std::uint64_t> counters = {
      stats.rx_packets, stats.rx_bytes,   stats.rx_dropped,
      stats.rx_errors,  stats.tx_packets, stats.tx_bytes,
      stats.tx_dropped, stats.tx_errors,  stats.offloaded_packets};
  counters.insert(counters.end(), stats.rx_errors_by.begin(), stats.rx_errors_by.end());
  return CountersToJs(env, counters.data(), counters.size());
}

Napi::Value ToJs(Napi::Env env, const std::vector<ReloadReport>& reports) {
  return ListToJs(env, reports, [env](const ReloadReport& report) {
    Napi::Object object = Napi::Object::New(env);
    object["core"] = CoreToJs(env, report.core);
    object["numa"] = report.numa;
    object["ports"] = report.ports;
    object["rxqs"] = report.rxqs;
    object["latencyUs"] = report.latency_us;
    return object;
  });
}

Napi::Object ToJs(Napi::Env env, const DatapathStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  object["ports"] = ListToJs(env, stats.ports, [env](const auto& port) {
    Napi::Array entry = Napi::Array::New(env, 2);
    entry.Set(0u, Napi::String::New(env, port.first));
    entry.Set(1u, ToJs(env, port.second));
    return entry;
  });
  object["pmds"] = ListToJs(env, stats.pmds, [env](const PmdStats& pmd) { return ToJs(env, pmd); });
  object["flows"] = static_cast<double>(stats.flows);
  object["masks"] = static_cast<double>(stats.masks);
  const Ledger& ledger = stats.ledger;
  object["drops"] = CountersToJs(env, ledger.drops.data(), ledger.drops.size());
  const std::uint64_t sums[] = {ledger.received,    ledger.executed, ledger.copied,
                                ledger.transmitted, ledger.dropped,  ledger.queued};
  object["ledger"] = CountersToJs(env, sums, std::size(sums));
  return object;
}

// -------------------------------------------------------------------- flows

Napi::Value OutcomesToJs(Napi::Env env, const FlowOutcomes& outcomes, std::span<std::uint8_t> out) {
  const std::size_t n = std::min(outcomes.each.size(), out.size() / (1 + kUfidText));
  std::uint8_t* text = out.data() + n;
  for (std::size_t i = 0; i < n; ++i) {
    const FlowOutcomes::One& one = outcomes.each[i];
    out[i] = static_cast<std::uint8_t>(one.kind);
    if (one.kind == FlowOutcomes::Kind::kPut) text = WriteUfid(one.ufid, text);
  }
  if (outcomes.errors.empty()) return env.Undefined();
  Napi::Array errors =
      ListToJs(env, outcomes.errors, [env](const Error& error) { return ErrorToJs(env, error); });
  for (const FlowOutcomes::Overlap& overlap : outcomes.overlaps) {
    const Match& flow = overlap.flow;
    Napi::Object other = Napi::Object::New(env);
    other["key"] = ToBuffer(env, EncodeKey(flow.key, &flow.mask));
    other["mask"] = ToBuffer(env, EncodeMask(flow.key, flow.mask));
    auto error = errors.Get(static_cast<std::uint32_t>(overlap.error)).As<Napi::Object>();
    error["change"] = static_cast<double>(overlap.change);
    error["overlaps"] = other;
  }
  return errors;
}

Napi::Value ToJs(Napi::Env env, const std::vector<FlowView>& flows, std::int64_t now_ms) {
  constexpr std::size_t kUsual = 256;  // Bytes of a record.
  Slab slab;
  slab.Reserve(flows.size() * kUsual);
  for (const FlowView& flow : flows) {
    const PackedMask& mask = *flow.mask;
    const std::size_t words = mask.size() * sizeof(std::uint64_t);
    const Bytes actions = flow.actions != nullptr ? flow.actions->attributes() : Bytes{};
    const FlowStats& stats = flow.stats;
    FlowRecord record;
    record.key_size = static_cast<std::uint32_t>(sizeof(WordMap) + words);
    record.mask_size = static_cast<std::uint32_t>(words);
    record.actions_size = static_cast<std::uint32_t>(actions.size());
    record.flags = std::uint32_t{stats.tcp_flags} | (flow.offloaded ? FlowRecord::kOffloaded : 0) |
                   static_cast<std::uint32_t>(flow.departure) << FlowRecord::kDepartureShift;
    record.packets = stats.packets;
    record.bytes = stats.bytes;
    record.used_ms = stats.used_ms == 0
                         ? -1.0
                         : static_cast<double>(std::max<std::int64_t>(0, now_ms - stats.used_ms));
    record.idle_timeout_ms = static_cast<double>(flow.idle_timeout_ms.value_or(-1));
    WriteUfid(flow.ufid, reinterpret_cast<std::uint8_t*>(record.ufid.data()));
    slab.Append(&record, sizeof record);
    slab.Number(mask.map().low());
    slab.Number(mask.map().high());
    slab.Append(flow.packed_key.data(), words);
    slab.Append(mask.words(), words);
    slab.Append(actions);
  }
  return slab.ToJs(env);
}

Napi::Value UfidToJs(Napi::Env env, Bytes key, Bytes mask) {
  const Match match = ValueOrThrow(env, DecodeMatch(key, mask));
  const PackedMask packed(match.mask);
  FlowWords words;
  packed.Pack(match.key, words.data());
  std::array<std::uint8_t, kUfidText> text;
  WriteUfid(std::bit_cast<Ufid>(packed.Id(words.data())), text.data());
  return Napi::String::New(env, reinterpret_cast<const char*>(text.data()), text.size());
}

Napi::Value FreeBytesToJs(Napi::Env env, Bytes key) {
  auto free = Napi::Uint8Array::New(env, key.size());
  std::fill_n(free.Data(), key.size(), std::uint8_t{0});
  ForEachFreeField(key, [&free](const FreeField& field, std::size_t at) {
    std::fill_n(free.Data() + at, field.size, std::uint8_t{1});
  });
  return free;
}

// ------------------------------------------------------- events and upcalls

Napi::Value ToJs(Napi::Env env, const std::vector<Event>& events, std::int64_t now_ms) {
  return ListToJs(env, events, [env, now_ms](const Event& event) {
    Napi::Object object = Napi::Object::New(env);
    object["kind"] = EventText(event.kind);
    object["port"] = static_cast<std::uint32_t>(event.port);
    object["text"] = event.text;
    object["dropped"] = ToJs(env, event.dropped);
    object["errors"] = ToJs(env, event.errors);
    if (event.kind == Event::Kind::kFlowsRemoved) object["flows"] = ToJs(env, event.flows, now_ms);
    return object;
  });
}

Napi::Value ToJs(Napi::Env env, const std::vector<UpcallView>& upcalls, std::uint32_t snap_length,
                 std::uint64_t dropped) {
  Slab slab;
  slab.Reserve(upcalls.size() * 320);
  for (const UpcallView& upcall : upcalls) {
    const Bytes userdata = upcall.userdata != nullptr ? Bytes(*upcall.userdata) : Bytes{};
    const Bytes frame = upcall.frame.first(std::min<std::size_t>(upcall.frame.size(), snap_length));
    const std::span<const std::uint64_t> words(upcall.key->values.data(), upcall.key->size());
    const std::array<std::uint64_t, 2> map = {upcall.key->map.low(), upcall.key->map.high()};
    UpcallRecord record;
    record.reason = static_cast<std::uint32_t>(upcall.reason);
    record.port = static_cast<std::uint32_t>(upcall.port);
    record.wire_length = static_cast<std::uint32_t>(upcall.frame.size());
    record.frame_size = static_cast<std::uint32_t>(frame.size());
    record.key_size = static_cast<std::uint32_t>(sizeof map + words.size_bytes());
    record.userdata_size = static_cast<std::uint32_t>(userdata.size());
    record.has_userdata = upcall.userdata != nullptr ? 1 : 0;
    slab.Append(&record, sizeof record);
    slab.Append(frame);
    slab.Append(map.data(), sizeof map);
    slab.Append(words.data(), words.size_bytes());
    slab.Append(userdata);
  }
  Napi::Object object = Napi::Object::New(env);
  object["slab"] = slab.ToJs(env);
  object["first"] = upcalls.empty() ? 0.0 : static_cast<double>(upcalls.front().id);
  object["count"] = static_cast<std::uint32_t>(upcalls.size());
  object["dropped"] = ToJs(env, dropped);
  return object;
}

namespace {

// The words that are in `values`, one after the other.
FlowWords WordsOf(Napi::Env env, const WordMap& map, Bytes values) {
  FlowWords words{};
  for (std::size_t word = 0; word < 128; ++word) {
    if ((map[word / 64] >> word % 64 & 1) == 0) continue;
    if (word >= kFlowWords || values.size() < sizeof words[0])
      Throw(env, Invalid("a key is cut short"));
    std::memcpy(&words[word], values.data(), sizeof words[0]);
    values = values.subspan(sizeof words[0]);
  }
  return words;
}

WordMap MapOf(Napi::Env env, Bytes key) {
  WordMap map{};
  if (key.size() < sizeof map) Throw(env, Invalid("a key is cut short"));
  std::memcpy(map.data(), key.data(), sizeof map);
  return map;
}

}  // namespace

Napi::Value EncodedKeyToJs(Napi::Env env, Bytes key) {
  const WordMap map = MapOf(env, key);
  return ToBuffer(env, EncodeKey(FromWords(WordsOf(env, map, key.subspan(sizeof map)))));
}

Napi::Value EncodedMatchToJs(Napi::Env env, Bytes key, Bytes mask) {
  const WordMap map = MapOf(env, key);
  const Flow flow = FromWords(WordsOf(env, map, key.subspan(sizeof map)));
  const FlowMask flow_mask = FromWords(WordsOf(env, map, mask));
  Napi::Object object = Napi::Object::New(env);
  object["key"] = ToBuffer(env, EncodeKey(flow, &flow_mask));
  object["mask"] = ToBuffer(env, EncodeMask(flow, flow_mask));
  return object;
}

Napi::Value ToJs(Napi::Env env, const std::vector<PacketPtr>& packets) {
  Slab slab;
  auto lengths = Napi::Uint32Array::New(env, packets.size());
  for (std::size_t i = 0; i < packets.size(); ++i) {
    lengths[i] = packets[i]->size;
    slab.Append(std::as_const(*packets[i]).bytes());
  }
  Napi::Object object = Napi::Object::New(env);
  object["slab"] = slab.ToJs(env);
  object["lengths"] = lengths;
  return object;
}

// -------------------------------------------------------------------- lists

Napi::Value DefaultOptionsToJs(Napi::Env env) {
  const DatapathOptions options;
  Napi::Object object = Napi::Object::New(env);
  object["name"] = options.name;
  object["topology"] = Napi::Array::New(env);
  object["manualClock"] = options.manual_clock;
  object["flowLimit"] = options.flow_limit;
  object["maxIdleMs"] = static_cast<double>(options.max_idle_ms);
  object["emcInsertInvProb"] = options.emc_insert_inv_prob;
  object["txFlushIntervalUs"] = options.tx_flush_interval_us;
  Napi::Array sleep_limits = Napi::Array::New(env);
  sleep_limits.Set(0u, options.pmd_sleep_max_us.everywhere);
  object["pmdSleepMaxUs"] = sleep_limits;
  object["upcallQueueLength"] = options.upcall_queue_length;
  object["upcallFloodWhenFull"] = options.upcall_flood_when_full;
  object["snapLength"] = kWholeFrame;
  return object;
}

Napi::Value PortTypesToJs(Napi::Env env) {
  return ListToJs(env, NetdevTypes(), [env](const NetdevType& type) {
    Napi::Object object = Napi::Object::New(env);
    const std::string reason = type.unavailable();
    object["type"] = type.name;
    object["available"] = reason.empty();
    if (!reason.empty()) object["reason"] = reason;
    return object;
  });
}

Napi::Value ProbesToJs(Napi::Env env) {
  Napi::Object object = Napi::Object::New(env);
  for (const MachineProbe& probe : ProbeMachine()) object[probe.name] = -probe.error;
  return object;
}

Napi::Value DropReasonsToJs(Napi::Env env) {
  return ListToJs(env, kDropReasonText,
                  [env](const char* text) { return Napi::String::New(env, text); });
}

Napi::Value RxErrorsToJs(Napi::Env env) {
  return ListToJs(env, kRxErrorText,
                  [env](const char* text) { return Napi::String::New(env, text); });
}

Napi::Value LinksToJs(Napi::Env env) {
  const Result<std::vector<LinkDetails>> links = DescribeLinks();
  if (!links) return Napi::Array::New(env);
  return ListToJs(env, links.value(), [env](const LinkDetails& link) {
    Napi::Object object = Napi::Object::New(env);
    object["name"] = link.name;
    object["maxGso"] = link.max_gso;
    object["maxGro"] = link.max_gro;
    return object;
  });
}

Napi::Value FlowFieldsToJs(Napi::Env env) {
#define X(member, text) text,
  constexpr const char* kNames[] = {POLLUX_FLOW_FIELDS(X)};
#undef X
  return ListToJs(env, kNames, [env](const char* text) { return Napi::String::New(env, text); });
}

}  // namespace pollux
