// Result<T> and Status: how the core reports failure.
//
// No exception crosses a thread or a floor. A verb that can fail returns a Result<T> (a value or an
// Error) or a Status (nothing or an Error). An Error carries an errno, one sentence for people, and
// where they help: the system call that failed, the port concerned, and a hint that says what to
// do. The binding turns it into a DatapathError.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace pollux {

struct Error {
  int number = 0;       // errno, positive; 0 only when `code` names a condition of our own.
  std::string message;  // One sentence, without the errno text.
  std::string hint;     // What to do about it; may be empty.
  std::string syscall;  // The system call that failed; may be empty.
  std::string port;     // The port concerned; may be empty.
  std::string code;     // A code of our own such as ERR_DATAPATH_CLOSED; empty: the errno's name.
};

// What to do when the system has no more of something to give, whatever was asked for; empty: it is
// about something else.
inline const char* HintOfExhaustion(int number) {
  switch (number) {
    case EMFILE:
      return "the process has as many descriptors open as it may: raise the limit (`ulimit -n`), "
             "or close something first";
    case ENFILE:
      return "the machine has as many files open as it may: /proc/sys/fs/file-max is the limit";
    case ENOMEM:
      return "free some memory, or ask for less";
    default:
      return "";
  }
}

// An Error that describes a failed system call: "<what>: <strerror>".
inline Error SystemError(int number, std::string syscall, std::string what) {
  Error error;
  error.number = number;
  error.syscall = std::move(syscall);
  error.message = std::move(what) + ": " + std::strerror(number);
  error.hint = HintOfExhaustion(number);
  return error;
}

inline Error Invalid(std::string message, std::string hint = {}) {
  Error error;
  error.number = EINVAL;
  error.message = std::move(message);
  error.hint = std::move(hint);
  return error;
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design.
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design.

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return *std::get_if<0>(&state_); }
  const T& value() const { return *std::get_if<0>(&state_); }
  Error& error() { return *std::get_if<1>(&state_); }
  const Error& error() const { return *std::get_if<1>(&state_); }
  T* operator->() { return &value(); }
  T& operator*() { return value(); }

 private:
  std::variant<T, Error> state_;
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit by design.

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  Error& error() { return error_; }
  const Error& error() const { return error_; }

 private:
  bool failed_ = false;
  Error error_;
};

}  // namespace pollux
