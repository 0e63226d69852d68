#include "server/openai/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace fmaserver::openai {

namespace asio = boost::asio;

struct Loop::KeepsRunning {
  asio::executor_work_guard<asio::io_context::executor_type> guard;
};

Loop::Loop()
    : context_(std::make_unique<asio::io_context>(/*concurrency_hint=*/1)),
      keeps_running_(new KeepsRunning{asio::make_work_guard(*context_)}),
      thread_([this] { context_->run(); }) {}

Loop::~Loop() { Stop(); }

void Loop::Stop() {
  keeps_running_.reset();
  if (thread_.joinable()) thread_.join();
}

void Loop::Post(std::function<void()> task) { asio::post(*context_, std::move(task)); }

struct Timer::State {
  explicit State(Loop& loop) : timer(loop.context()) {}

  asio::steady_timer timer;
  int64_t turn = 0;  // of setting and clearing: a ring of an earlier one is none
  std::function<void()> ring;
};

Timer::Timer(Loop& loop) : state_(std::make_shared<State>(loop)) {}

Timer::~Timer() { Clear(); }

void Timer::Set(std::chrono::milliseconds after, std::function<void()> ring) {
  state_->ring = std::move(ring);
  const int64_t turn = ++state_->turn;
  state_->timer.expires_after(after);
  state_->timer.async_wait([state = state_, turn](const boost::system::error_code& error) {
    if (error || state->turn != turn) return;
    // It may set this timer again, or destroy it.
    const auto due = std::exchange(state->ring, nullptr);
    due();
  });
}

void Timer::Clear() {
  if (state_->ring == nullptr) return;
  ++state_->turn;
  state_->ring = nullptr;
  state_->timer.cancel();
}

}  // namespace fmaserver::openai
