// A trace to JavaScript: one object a step, with what it has; src/binding.ts declares it.
#include "binding/convert.h"

namespace pollux {
namespace {

constexpr const char* kStepText[] = {
#define X(name, text) text,
    POLLUX_TRACE_STEPS(X)
#undef X
};

Napi::Value BytesToJs(Napi::Env env, Bytes bytes) {
  return Napi::Buffer<std::uint8_t>::Copy(env, bytes.data(), bytes.size());
}

Napi::Object ToJs(Napi::Env env, const TraceStep& step) {
  using Kind = TraceStep::Kind;
  Napi::Object object = Napi::Object::New(env);
  object["kind"] = kStepText[static_cast<std::size_t>(step.kind)];
  object["pass"] = step.pass;
  object["depth"] = step.depth;
  object["hit"] = Napi::Boolean::New(env, step.hit);
  object["number"] = step.number;
  switch (step.kind) {
    case Kind::kParse:
    case Kind::kAction:
    case Kind::kEnd:
      object["key"] = BytesToJs(env, EncodeKey(step.match.key));
      break;
    case Kind::kTuple:
    case Kind::kFlow:
      object["key"] = BytesToJs(env, EncodeKey(step.match.key, &step.match.mask));
      object["mask"] = BytesToJs(env, EncodeMask(step.match.key, step.match.mask));
      break;
    default:
      break;
  }
  if (step.kind == Kind::kFlow) object["ufid"] = BytesToJs(env, step.ufid);
  if (step.kind == Kind::kFlow || step.kind == Kind::kAction)
    object["attributes"] = BytesToJs(env, step.attributes);
  if (!step.frame.empty()) object["frame"] = BytesToJs(env, step.frame);
  if (step.upcall.has_value())
    object["reason"] = *step.upcall == UpcallReason::kMiss ? "miss" : "action";
  if (step.drop.has_value()) object["drop"] = kDropReasonText[static_cast<std::size_t>(*step.drop)];
  return object;
}

}  // namespace

Napi::Value ToJs(Napi::Env env, const std::vector<TraceStep>& steps) {
  Napi::Array array = Napi::Array::New(env, steps.size());
  for (std::uint32_t i = 0; i < steps.size(); ++i) {
    const Napi::HandleScope scope(env);
    array.Set(i, ToJs(env, steps[i]));
  }
  return array;
}

}  // namespace pollux
