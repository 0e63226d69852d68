#include "bench/load/conversations.h"

#include <thread>

namespace fmaserver::bench {

ConversationsResult RunConversations(const ConversationPlan& plan, size_t count,
                                     const RequestSource& source, Servers servers,
                                     const std::vector<Answers>& expected,
                                     const std::vector<Fault>& faults, CallGroup& group,
                                     LiveCounts& live) {
  ConversationsResult result;
  result.begin = NowSeconds();
  result.records.resize(count);
  FaultRunner runner(faults, result.begin);
  const auto converse = [&](size_t i) {
    const Answers* wanted = expected.empty() ? nullptr : &expected[i];
    Conversation conversation(plan, static_cast<int64_t>(i), source, servers, wanted, group, live);
    result.records[i] = conversation.Run();
  };
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (size_t i = 0; i < count; ++i) threads.emplace_back(converse, i);
  for (std::thread& thread : threads) thread.join();
  result.faults = runner.Stop();
  result.end = NowSeconds();
  return result;
}

}  // namespace fmaserver::bench
