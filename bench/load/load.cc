#include "bench/load/load.h"

#include <thread>
#include <utility>

namespace fmaserver::bench {

Schedule::Schedule(const LoadPlan& plan, double begin)
    : rate_(plan.rate),
      requests_(plan.requests),
      end_(begin + plan.duration_seconds),
      random_(plan.seed),
      last_arrival_(begin) {}

std::optional<Schedule::Arrival> Schedule::Next() {
  const std::lock_guard lock(mutex_);
  const double now = NowSeconds();
  Arrival arrival{.number = next_, .due = now};
  if (rate_) {
    last_arrival_ += std::exponential_distribution<double>(*rate_)(random_);
    arrival.due = last_arrival_;
    arrival.late = arrival.due < now;
  }
  if (arrival.number >= requests_ || arrival.due >= end_) return std::nullopt;
  ++next_;
  return arrival;
}

LoadResult RunLoad(const LoadPlan& plan, const RequestSource& source, Servers servers,
                   CallGroup& group, LiveCounts& live) {
  LoadResult result;
  std::mutex mutex;  // guards result
  const double begin = NowSeconds();
  Schedule schedule(plan, begin);
  const auto send = [&] {
    while (const auto arrival = schedule.Next()) {
      const v1::GenerateRequest request = source.Make(plan.first_number + arrival->number);
      if (!group.SleepUntil(arrival->due)) return;
      StreamRecord record = MeasureStream(servers.Of(arrival->number), group, request, arrival->due,
                                          plan.timeout_seconds, live);
      const std::lock_guard lock(mutex);
      result.late += arrival->late ? 1 : 0;
      result.records.push_back(std::move(record));
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(plan.concurrency));
  for (int i = 0; i < plan.concurrency; ++i) threads.emplace_back(send);
  for (std::thread& thread : threads) thread.join();
  result.seconds = NowSeconds() - begin;
  return result;
}

}  // namespace fmaserver::bench
