// EventBridge: how news of a datapath reaches the event loop it was made on.
//
// No thread of the datapath touches N-API. What it has to say (a command is done, an event, an
// upcall) makes a descriptor readable; the loop polls that descriptor like a socket, and everything
// that concerns JavaScript happens in the poll callback, on the loop's own thread. A loop that is
// busy for seconds thus delays news, and nothing else.
//
//   control thread                       event loop
//   done(result) -> Push(completion) -+
//   events, upcalls ------------------+-> descriptor -> OnReadable: settles promises, then calls
//                                                       `wake`, which takes events and upcalls
//
// Life. The bridge owns the datapath. While it is open, the poll handle keeps the loop alive
// (unless Unref() was called and no command is under way) and the wrapper object is kept from the
// garbage collector, as for a server that listens. It ends in Shutdown(): after the Close command,
// or from the environment's cleanup hook, whatever the datapath is doing then. Shutdown joins all
// threads before the environment is gone; the hook is released when libuv has let go of the handle.
#pragma once

#include <uv.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "binding/convert.h"

namespace pollux {

class EventBridge {
 public:
  // Settles a promise; runs on the loop's thread.
  using Completion = std::function<void(Napi::Env)>;

  // `wake` is called when events or upcalls may wait. `closed` is called once, at the end of an
  // orderly close.
  static std::shared_ptr<EventBridge> Open(Napi::Env env, std::unique_ptr<Datapath> datapath,
                                           Napi::Function wake, std::function<void()> closed);
  ~EventBridge();
  EventBridge(const EventBridge&) = delete;
  EventBridge& operator=(const EventBridge&) = delete;

  // nullptr once closed.
  Datapath* datapath() const { return datapath_.get(); }

  // Starts a command that ends with a Result<T>; the promise resolves with what `convert` makes of
  // the value.
  template <typename T, typename Start, typename Convert>
  Napi::Value Run(Start start, Convert convert) {
    const auto deferred = Napi::Promise::Deferred::New(env_);
    Begin();
    start([this, deferred, convert](Result<T> result) {
      // On the control thread; the datapath, and so the bridge, outlives its commands.
      Push([deferred, convert, result = std::move(result)](Napi::Env env) {
        if (result.ok()) {
          deferred.Resolve(convert(env, result.value()));
        } else {
          deferred.Reject(ErrorToJs(env, result.error()));
        }
      });
    });
    return deferred.Promise();
  }
  // The same for a command that ends with a Status; the promise resolves with undefined. `then`
  // runs first if it went well.
  template <typename Start>
  Napi::Value RunStatus(Start start, std::function<void()> then = {}) {
    const auto deferred = Napi::Promise::Deferred::New(env_);
    Begin();
    start([this, deferred, then = std::move(then)](Status status) {
      Push([deferred, then, status = std::move(status)](Napi::Env env) {
        if (status.ok()) {
          if (then) then();
          deferred.Resolve(env.Undefined());
        } else {
          deferred.Reject(ErrorToJs(env, status.error()));
        }
      });
    });
    return deferred.Promise();
  }
  Napi::Value Close();

  // Whether an idle datapath keeps the process alive.
  void Ref(bool wanted);

 private:
  struct Poll {
    uv_poll_t handle;
    std::shared_ptr<EventBridge> bridge;
  };

  EventBridge(Napi::Env env, std::unique_ptr<Datapath> datapath, Napi::Function wake,
              std::function<void()> closed);
  void Begin();
  void Push(Completion completion) EXCLUDES(mutex_);
  void OnReadable();
  std::vector<Completion> TakeCompletions() EXCLUDES(mutex_);
  void Settle(const std::vector<Completion>& completions);
  void Wake();
  void UpdateRef();
  void Shutdown();

  // The loop thread's.
  const Napi::Env env_;
  std::unique_ptr<Datapath> datapath_;
  Datapath* const signal_;  // For the control thread: `datapath_` as it was made, valid for as long
                            // as there are threads.
  Napi::FunctionReference wake_;
  std::function<void()> closed_;
  std::optional<Napi::AsyncContext> context_;
  Poll* poll_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::size_t under_way_ = 0;  // Commands.
  bool ref_ = true;

  // Everybody's.
  std::atomic<bool> close_done_{false};  // Set before the promise of close() is pushed.
  Mutex mutex_;
  std::vector<Completion> completions_ GUARDED_BY(mutex_);
};

}  // namespace pollux
