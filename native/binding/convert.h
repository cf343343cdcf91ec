// Values from JavaScript and to it. The only code that reads the one or makes the other, errors
// included.
//
// Shapes are checked above, in src/, where the sentences for people are; here a value of the wrong
// type is refused, never trusted. Flows and packets cross as records in one byte string (a slab),
// which src/ takes apart when somebody looks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

// While an environment goes down nothing can be thrown into it; trying must not abort the process.
#ifndef NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#endif
#include <napi.h>

#include "changes/match_texts.h"
#include "datapath/datapath.h"

namespace pollux {

inline constexpr std::uint32_t kWholeFrame = UINT32_MAX;  // As a snap length.

// --- Errors

// An Error object with what the core says: `errno` (negative), and `code`, `syscall`, `port`,
// `hint` where there are any.
Napi::Object ErrorToJs(Napi::Env env, const Error& error);
[[noreturn]] void Throw(Napi::Env env, const Error& error);
template <typename T>
T ValueOrThrow(Napi::Env env, Result<T> result) {
  if (!result.ok()) Throw(env, result.error());
  return std::move(*result);
}

// --- From JavaScript. Throw for what is not of the type.

// Good until control returns to JavaScript.
Bytes BytesFromJs(const Napi::Value& value);
std::span<std::uint8_t> OutputFromJs(const Napi::Value& value);
std::vector<std::uint8_t> CopyFromJs(const Napi::Value& value);
std::uint32_t U32FromJs(const Napi::Value& value);
// A core number, or "non-pmd".
std::uint32_t CoreFromJs(const Napi::Value& value);
DatapathOptions OptionsFromJs(const Napi::Object& options);
PortSpec PortSpecFromJs(const Napi::Object& spec);
// Six numbers for each value: start, end, place in the key, kind, size, maximum.
std::vector<MatchTexts::Value> TextValuesFromJs(const Napi::Value& value);

// --- To JavaScript.

Napi::Value ToJs(Napi::Env env, std::uint64_t counter);
Napi::Value CoreToJs(Napi::Env env, std::uint32_t core);
Napi::Object ToJs(Napi::Env env, const PortInfo& info);
// All counters of a port, in the order of the struct.
Napi::Value ToJs(Napi::Env env, const PortStats& stats);
Napi::Value ToJs(Napi::Env env, const std::vector<ReloadReport>& reports);
Napi::Object ToJs(Napi::Env env, const DatapathStats& stats);
// Writes outcomes to `out` (records.h has the layout), as far as there is room; returns
// the list of Errors, undefined if there are none.
Napi::Value OutcomesToJs(Napi::Env env, const FlowOutcomes& outcomes, std::span<std::uint8_t> out);
// FlowRecords. `now_ms` is the time by the datapath's clock:
// records say how long ago a flow was used.
Napi::Value ToJs(Napi::Env env, const std::vector<FlowView>& flows, std::int64_t now_ms);
Napi::Value ToJs(Napi::Env env, const std::vector<Event>& events, std::int64_t now_ms);
// {slab, first, count, dropped}. UpcallRecords with frames cut to `snap_length`.
Napi::Value ToJs(Napi::Env env, const std::vector<UpcallView>& upcalls, std::uint32_t snap_length,
                 std::uint64_t dropped);
// {slab, lengths}.
Napi::Value ToJs(Napi::Env env, const std::vector<PacketPtr>& packets);
Napi::Value ToJs(Napi::Env env, const std::vector<TraceStep>& steps);
// Text: the ufid that a flow with this match gets if it is put without one.
Napi::Value UfidToJs(Napi::Env env, Bytes key, Bytes mask);
// A key as upcalls have it, as netlink attributes.
Napi::Value EncodedKeyToJs(Napi::Env env, Bytes key);
// {key, mask}: those of a flow record, as netlink attributes.
Napi::Value EncodedMatchToJs(Napi::Env env, Bytes key, Bytes mask);
// A byte for each of the key: 1 if it is of a free field.
Napi::Value FreeBytesToJs(Napi::Env env, Bytes key);
Napi::Value DefaultOptionsToJs(Napi::Env env);
Napi::Value PortTypesToJs(Napi::Env env);
// {name: errno}, negative, 0 for what works.
Napi::Value ProbesToJs(Napi::Env env);
Napi::Value DropReasonsToJs(Napi::Env env);
Napi::Value RxErrorsToJs(Napi::Env env);
Napi::Value LinksToJs(Napi::Env env);
Napi::Value FlowFieldsToJs(Napi::Env env);

}  // namespace pollux
