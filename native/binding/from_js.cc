// Values from JavaScript; see convert.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "actions/action_list.h"
#include "binding/convert.h"

namespace pollux {
namespace {

constexpr double kMaxExact = 9007199254740992.0;  // Integers above are not exact.

[[noreturn]] void Refuse(Napi::Env env, const std::string& message) {
  Throw(env, Invalid(message));
}

// A member that may be missing: absent, undefined and null are the same.
Napi::Value Member(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  return value.IsNull() ? object.Env().Undefined() : value;
}

template <typename Read>
auto Optional(const Napi::Object& object, const char* name, Read read)
    -> std::optional<decltype(read(std::declval<Napi::Value>()))> {
  const Napi::Value value = Member(object, name);
  if (value.IsUndefined()) return std::nullopt;
  return read(value);
}

std::int64_t I64FromJs(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= -kMaxExact && number <= kMaxExact) || number != std::floor(number)) {
    Refuse(value.Env(), "expected an integer");
  }
  return static_cast<std::int64_t>(number);
}

std::uint64_t U64FromJs(const Napi::Value& value) {
  const std::int64_t number = I64FromJs(value);
  if (number < 0) Refuse(value.Env(), "expected an integer that is not negative");
  return static_cast<std::uint64_t>(number);
}

bool BoolFromJs(const Napi::Value& value) {
  if (!value.IsBoolean()) Refuse(value.Env(), "expected a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string StringFromJs(const Napi::Value& value) {
  if (!value.IsString()) Refuse(value.Env(), "expected a string");
  return value.As<Napi::String>().Utf8Value();
}

std::vector<std::uint32_t> ListFromJs(const Napi::Value& value) {
  if (!value.IsArray()) Refuse(value.Env(), "expected a list of numbers");
  const auto array = value.As<Napi::Array>();
  std::vector<std::uint32_t> list;
  for (std::uint32_t i = 0; i < array.Length(); ++i) list.push_back(U32FromJs(array.Get(i)));
  return list;
}

FlowOrder OrderFromJs(const Napi::Value& value) {
  const std::string name = StringFromJs(value);
  if (name == "turn") return FlowOrder::kTurn;
  if (name == "uniform") return FlowOrder::kUniform;
  if (name == "zipf") return FlowOrder::kZipf;
  Refuse(value.Env(), "expected an order of flows");
}

template <typename T>
void Set(T& target, std::optional<T> value) {
  if (value.has_value()) target = std::move(*value);
}

}  // namespace

std::span<std::uint8_t> OutputFromJs(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    Refuse(value.Env(), "expected a Uint8Array");
  }
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ElementLength()};
}

Bytes BytesFromJs(const Napi::Value& value) { return OutputFromJs(value); }

std::vector<std::uint8_t> CopyFromJs(const Napi::Value& value) {
  const Bytes bytes = BytesFromJs(value);
  return {bytes.begin(), bytes.end()};
}

std::uint32_t U32FromJs(const Napi::Value& value) {
  const std::int64_t number = I64FromJs(value);
  if (number < 0 || number > std::numeric_limits<std::uint32_t>::max()) {
    Refuse(value.Env(), "expected an integer from 0 to 4294967295");
  }
  return static_cast<std::uint32_t>(number);
}

std::uint32_t CoreFromJs(const Napi::Value& value) {
  return value.IsString() ? kNonPmdCore : U32FromJs(value);
}

DatapathOptions OptionsFromJs(const Napi::Object& object) {
  DatapathOptions options;
  Set(options.name, Optional(object, "name", StringFromJs));
  options.pmd_cpus = Optional(object, "pmdCpus", ListFromJs);
  if (const Napi::Value topology = Member(object, "topology"); topology.IsArray()) {
    const auto nodes = topology.As<Napi::Array>();
    for (std::uint32_t i = 0; i < nodes.Length(); ++i) {
      options.topology.push_back(ListFromJs(nodes.Get(i)));
    }
  }
  Set(options.manual_clock, Optional(object, "manualClock", BoolFromJs));
  Set(options.flow_limit, Optional(object, "flowLimit", U32FromJs));
  Set(options.max_idle_ms, Optional(object, "maxIdleMs", I64FromJs));
  Set(options.emc_insert_inv_prob, Optional(object, "emcInsertInvProb", U32FromJs));
  Set(options.tx_flush_interval_us, Optional(object, "txFlushIntervalUs", U32FromJs));
  // Everywhere, then core, limit, core, limit, …
  if (const auto limits = Optional(object, "pmdSleepMaxUs", ListFromJs); limits.has_value()) {
    if (!limits->empty()) options.pmd_sleep_max_us.everywhere = limits->front();
    for (std::size_t i = 1; i + 1 < limits->size(); i += 2)
      options.pmd_sleep_max_us.of_core[(*limits)[i]] = (*limits)[i + 1];
  }
  Set(options.upcall_queue_length, Optional(object, "upcallQueueLength", U32FromJs));
  Set(options.upcall_flood_when_full, Optional(object, "upcallFloodWhenFull", BoolFromJs));
  return options;
}

PortSpec PortSpecFromJs(const Napi::Object& object) {
  PortSpec spec;
  NetdevSpec& netdev = spec.netdev;
  netdev.type = StringFromJs(object.Get("type"));
  netdev.name = StringFromJs(object.Get("name"));
  Set(netdev.device, Optional(object, "device", StringFromJs));
  Set(netdev.netns, Optional(object, "netns", StringFromJs));
  Set(netdev.wait, Optional(object, "wait", BoolFromJs));
  Set(netdev.mode, Optional(object, "mode", StringFromJs));
  Set(netdev.rxqs, Optional(object, "rxqs", U32FromJs));
  Set(netdev.mtu, Optional(object, "mtu", U32FromJs));
  Set(netdev.host_stack, Optional(object, "hostStack", BoolFromJs));
  Set(netdev.visible, Optional(object, "visible", BoolFromJs));
  Set(netdev.qdisc_bypass, Optional(object, "qdiscBypass", BoolFromJs));
  Set(netdev.promiscuous, Optional(object, "promiscuous", BoolFromJs));
  Set(netdev.busy_poll, Optional(object, "busyPoll", BoolFromJs));
  Set(netdev.offload_flows_above, Optional(object, "offloadFlowsAbove", U32FromJs));
  Set(netdev.queue_length, Optional(object, "queueLength", U32FromJs));
  Set(netdev.generate, Optional(object, "generate", BoolFromJs));
  Set(netdev.generator.size, Optional(object, "generateSize", U32FromJs));
  Set(netdev.generator.flows, Optional(object, "generateFlows", U32FromJs));
  Set(netdev.generator.masks, Optional(object, "generateMasks", U32FromJs));
  Set(netdev.generator.order, Optional(object, "generateOrder", OrderFromJs));
  Set(netdev.generator.stranger_every, Optional(object, "generateStrangerEvery", U32FromJs));
  Set(netdev.generate_limit, Optional(object, "generateLimit", U64FromJs));
  Set(netdev.read, Optional(object, "read", StringFromJs));
  Set(netdev.write, Optional(object, "write", StringFromJs));
  Set(netdev.loop, Optional(object, "loop", BoolFromJs));
  Set(netdev.paced, Optional(object, "paced", BoolFromJs));
  netdev.numa = Optional(object, "numa", U32FromJs);
  Set(netdev.open_delay_ms, Optional(object, "openDelayMs", U32FromJs));
  spec.number = Optional(object, "number", U32FromJs);
  spec.pmd = Optional(object, "pmd", BoolFromJs);
  Set(spec.pmd_sleep_max_us, Optional(object, "pmdSleepMaxUs", U32FromJs));
  // Queue, core, queue, core, …
  if (const auto pairs = Optional(object, "rxqAffinity", ListFromJs); pairs.has_value()) {
    for (std::size_t i = 0; i + 1 < pairs->size(); i += 2) {
      spec.rxq_affinity.emplace_back((*pairs)[i], (*pairs)[i + 1]);
    }
  }
  return spec;
}

std::vector<MatchTexts::Value> TextValuesFromJs(const Napi::Value& value) {
  constexpr std::size_t kNumbers = 6;
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array)
    Refuse(value.Env(), "expected a Uint32Array");
  const auto array = value.As<Napi::Uint32Array>();
  const std::span<const std::uint32_t> numbers(array.Data(), array.ElementLength());
  std::vector<MatchTexts::Value> values;
  for (std::size_t i = 0; i + kNumbers <= numbers.size(); i += kNumbers) {
    const auto one = numbers.subspan(i, kNumbers);
    if (one[3] > static_cast<std::uint32_t>(MatchTexts::Kind::kIpv6))
      Refuse(value.Env(), "expected a kind of value");
    values.push_back({one[0], one[1], one[2], MatchTexts::Kind{static_cast<std::uint8_t>(one[3])},
                      static_cast<std::uint8_t>(one[4]), one[5]});
  }
  return values;
}

}  // namespace pollux
