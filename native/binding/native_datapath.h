// NativeDatapath: a Datapath as a JavaScript object. Methods are named after the verbs of
// datapath.h and do nothing but convert; src/binding.ts declares them. Commands return promises,
// everything else answers at once.
#pragma once

#include <memory>

#include "binding/event_bridge.h"
#include "changes/change_reader.h"

namespace pollux {

class NativeDatapath : public Napi::ObjectWrap<NativeDatapath> {
 public:
  static Napi::Function Define(Napi::Env env);
  // (options, wake)
  explicit NativeDatapath(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;

  Napi::Value AddPort(Info info);
  Napi::Value DeletePort(Info info);
  Napi::Value RenumberPort(Info info);
  Napi::Value Reload(Info info);
  Napi::Value SetOptions(Info info);
  Napi::Value Settle(Info info);
  Napi::Value Advance(Info info);
  Napi::Value Close(Info info);

  Napi::Value Port(Info info);
  Napi::Value GetPortStats(Info info);
  Napi::Value Inject(Info info);
  Napi::Value Drain(Info info);
  Napi::Value Execute(Info info);
  Napi::Value Trace(Info info);
  Napi::Value Stats(Info info);

  Napi::Value FlowApply(Info info);
  void LearnText(Info info);
  Napi::Value FlowFind(Info info);
  Napi::Value FlowDump(Info info);
  Napi::Value FlowClear(Info info);
  Napi::Value FlowSize(Info info);

  Napi::Value TakeEvents(Info info);
  void SetUpcallConsumer(Info info);
  Napi::Value TakeUpcalls(Info info);
  Napi::Value AnswerUpcalls(Info info);
  void Signal(Info info);
  void SetRef(Info info);

  // Throws ERR_DATAPATH_CLOSED.
  Datapath& Live(Napi::Env env) const;

  std::shared_ptr<EventBridge> bridge_;
  std::uint32_t snap_length_ = kWholeFrame;
  ChangeReader reader_;
  FlowChanges changes_;  // Between calls: memory to use again.
};

}  // namespace pollux
