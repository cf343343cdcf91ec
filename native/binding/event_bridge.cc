#include "binding/event_bridge.h"

namespace pollux {

EventBridge::EventBridge(Napi::Env env, std::unique_ptr<Datapath> datapath, Napi::Function wake,
                         std::function<void()> closed)
    : env_(env),
      datapath_(std::move(datapath)),
      signal_(datapath_.get()),
      wake_(Napi::Persistent(wake)),
      closed_(std::move(closed)),
      context_(std::in_place, env, "PolluxDatapath") {}

EventBridge::~EventBridge() = default;

std::shared_ptr<EventBridge> EventBridge::Open(Napi::Env env, std::unique_ptr<Datapath> datapath,
                                               Napi::Function wake, std::function<void()> closed) {
  const int fd = datapath->event_fd();
  std::shared_ptr<EventBridge> bridge(
      new EventBridge(env, std::move(datapath), wake, std::move(closed)));

  uv_loop_t* loop = nullptr;
  auto poll = std::make_unique<Poll>();
  int failed = napi_get_uv_event_loop(env, &loop) == napi_ok ? 0 : UV_EINVAL;
  if (failed == 0) failed = uv_poll_init(loop, &poll->handle, fd);
  if (failed != 0) Throw(env, SystemError(-failed, "epoll_ctl", "cannot watch the datapath"));
  poll->handle.data = poll.get();
  poll->bridge = bridge;
  bridge->poll_ = poll.release();  // Freed when libuv has closed the handle.

  uv_poll_start(&bridge->poll_->handle, UV_READABLE, [](uv_poll_t* handle, int, int) {
    // Holds the bridge, which a callback may shut down.
    const auto held = static_cast<Poll*>(handle->data)->bridge;
    held->OnReadable();
  });
  const napi_status hooked = napi_add_async_cleanup_hook(
      env,
      [](napi_async_cleanup_hook_handle, void* data) {
        static_cast<EventBridge*>(data)->Shutdown();
      },
      bridge.get(), &bridge->hook_);
  if (hooked != napi_ok) {
    bridge->Shutdown();
    Throw(env, Invalid("the environment is going down"));
  }
  return bridge;
}

Napi::Value EventBridge::Close() {
  return RunStatus([this](const Datapath::DoneStatus& done) {
    datapath_->Close([this, done](const Status& status) {
      close_done_.store(true, std::memory_order_release);
      done(status);
    });
  });
}

void EventBridge::Ref(bool wanted) {
  ref_ = wanted;
  UpdateRef();
}

void EventBridge::UpdateRef() {
  if (poll_ == nullptr) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&poll_->handle);
  if (ref_ || under_way_ > 0) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void EventBridge::Begin() {
  ++under_way_;
  UpdateRef();
}

void EventBridge::Push(Completion completion) {
  {
    MutexLock lock(mutex_);
    completions_.push_back(std::move(completion));
  }
  signal_->Signal();
}

void EventBridge::OnReadable() {
  const Napi::HandleScope scope(env_);
  datapath_->AcknowledgeEvents();
  std::vector<Completion> completions = TakeCompletions();
  // Whoever awaits close() finds no thread and no descriptor of the datapath any more.
  const bool done = close_done_.load(std::memory_order_acquire);
  if (done) Shutdown();
  Settle(completions);
  if (!done) return Wake();
  completions = TakeCompletions();
  Settle(completions);
}

std::vector<EventBridge::Completion> EventBridge::TakeCompletions() {
  MutexLock lock(mutex_);
  return std::exchange(completions_, {});
}

// Promises are settled within a callback scope, at whose end microtasks run: when Wake() tells of a
// port, whoever awaited that port has seen it.
void EventBridge::Settle(const std::vector<Completion>& completions) {
  if (completions.empty()) return;
  under_way_ -= completions.size();
  UpdateRef();
  try {
    const Napi::AsyncContext context(env_, "PolluxCommand");
    const Napi::CallbackScope scope(env_, context);
    for (const Completion& completion : completions) completion(env_);
  } catch (const Napi::Error&) {
    // The environment goes down and takes no more values: nobody is left to await them.
  }
}

void EventBridge::Wake() {
  if (!context_.has_value()) return;
  try {
    const Napi::CallbackScope scope(env_, *context_);
    try {
      wake_.Call({});
    } catch (const Napi::Error& error) {
      // `wake` catches what its callees throw; what is left is not ours to judge.
      napi_fatal_exception(env_, error.Value());
    }
  } catch (const Napi::Error&) {
    // As above.
  }
}

void EventBridge::Shutdown() {
  if (poll_ == nullptr) return;
  // Before the descriptor is closed, or libuv might stop polling its successor.
  uv_close(reinterpret_cast<uv_handle_t*>(&std::exchange(poll_, nullptr)->handle),
           [](uv_handle_t* handle) {
             const std::unique_ptr<Poll> poll(static_cast<Poll*>(handle->data));
             napi_remove_async_cleanup_hook(poll->bridge->hook_);
           });
  datapath_.reset();
  wake_.Reset();
  context_.reset();
  if (close_done_.load(std::memory_order_acquire)) closed_();
}

}  // namespace pollux
