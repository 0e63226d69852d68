#include "bench/load/conversations_report.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fmaserver::bench {
namespace {

using nlohmann::json;

/// A part of the time; its end is not in it.
struct Period {
  double from = 0;
  double to = 0;
  bool Has(double time) const { return time >= from && time < to; }
};

/// Of the times from `last` over `times` to `end`, the longest between two that overlaps `period`.
double LongestPause(const TurnRecord& turn, const std::vector<double>& times, double end,
                    const Period& period) {
  double longest = 0;
  double last = turn.begin;
  const auto until = [&](double time) {
    if (last < period.to && time > period.from) longest = std::max(longest, time - last);
    last = time;
  };
  for (const double time : times) until(time);
  if (turn.end == 0) until(end);  // the turn never ended
  return longest;
}

void Add(const ConversationRecord& record, const Period& period, Aftermath& part) {
  for (const TurnRecord& turn : record.turns) {
    part.longest_pause =
        std::max(part.longest_pause, LongestPause(turn, turn.arrivals, record.end, period));
    part.longest_pause_until_news =
        std::max(part.longest_pause_until_news, LongestPause(turn, turn.news, record.end, period));
  }
  const auto resumed = [&](bool by_token) {
    return std::ranges::any_of(record.repeats, [&](const Repeat& repeat) {
      return repeat.by_token == by_token && period.Has(repeat.time);
    });
  };
  part.resumed_by_token += resumed(true) ? 1 : 0;
  part.resumed_by_session += resumed(false) ? 1 : 0;
  part.lost += !record.status.ok() && period.Has(record.end) ? 1 : 0;
  part.different += record.difference && period.Has(record.difference->time) ? 1 : 0;
}

std::vector<Aftermath> PartsOf(const ConversationsResult& result) {
  std::vector<Aftermath> parts(1);
  std::vector<double> starts = {result.begin};
  for (const FaultOutcome& outcome : result.faults) {
    parts.push_back({.fault = outcome});
    starts.push_back(outcome.begin.value_or(result.end));
  }
  starts.push_back(result.end);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Period period{.from = starts[i], .to = starts[i + 1]};
    for (const ConversationRecord& record : result.records) Add(record, period, parts[i]);
  }
  return parts;
}

void AddLatencies(const ConversationRecord& record, std::vector<double>& first,
                  std::vector<double>& gaps) {
  for (const TurnRecord& turn : record.turns) {
    if (turn.arrivals.empty()) continue;
    first.push_back(turn.arrivals.front() - turn.begin);
    for (size_t i = 1; i < turn.arrivals.size(); ++i) {
      gaps.push_back(turn.arrivals[i] - turn.arrivals[i - 1]);
    }
  }
}

json ToJson(const Aftermath& part) {
  json object = {{"longest_pause_seconds", part.longest_pause},
                 {"longest_pause_until_news_seconds", part.longest_pause_until_news},
                 {"resumed_by_token", part.resumed_by_token},
                 {"resumed_by_session", part.resumed_by_session},
                 {"lost", part.lost},
                 {"different", part.different}};
  if (!part.fault) return object;
  object["seconds"] = part.fault->fault.seconds;
  object["command"] = part.fault->fault.command;
  object["run"] = part.fault->begin.has_value();
  object["exit_code"] = part.fault->exit_code ? json(*part.fault->exit_code) : json();
  return object;
}

std::string NameOf(const Aftermath& part) {
  if (!part.fault) return "before any fault";
  std::string name = absl::StrFormat("%g %s", part.fault->fault.seconds, part.fault->fault.command);
  constexpr size_t kWidth = 48;
  if (name.size() > kWidth) name = name.substr(0, kWidth - 3) + "...";
  return name;
}

std::string Row(const Aftermath& part) {
  std::string row =
      absl::StrFormat("%-50s%11s%11s%10d%12d%6d%11d", NameOf(part),
                      HumanSeconds(part.longest_pause), HumanSeconds(part.longest_pause_until_news),
                      part.resumed_by_token, part.resumed_by_session, part.lost, part.different);
  if (part.fault && !part.fault->begin) absl::StrAppend(&row, "  not run: all had ended");
  if (part.fault && part.fault->exit_code.value_or(0) != 0) {
    absl::StrAppend(&row, "  failed with exit code ", *part.fault->exit_code);
  }
  return row + "\n";
}

}  // namespace

ConversationsReport ConversationsReport::Of(const ConversationsResult& result, bool interrupted) {
  ConversationsReport report;
  report.conversations = std::ssize(result.records);
  report.seconds = result.end - result.begin;
  report.parts = PartsOf(result);
  std::vector<double> first;
  std::vector<double> gaps;
  const auto problem = [&](const ConversationRecord& record, absl::string_view what) {
    if (report.problems.size() == kMostProblems) return;
    report.problems.push_back(absl::StrCat("conversation ", record.number, ": ", what));
  };
  for (const ConversationRecord& record : result.records) {
    AddLatencies(record, first, gaps);
    for (const Answers::value_type& answer : record.answers)
      report.generated_tokens += answer.size();
    for (const Repeat& repeat : record.repeats) report.repeated.Count(repeat.why);
    if (record.difference) {
      ++report.different;
      problem(record, record.difference->what);
    }
    if (record.status.ok()) {
      ++(record.repeats.empty() ? report.undisturbed : report.resumed);
    } else if (interrupted && absl::IsCancelled(record.status)) {
      ++report.interrupted;
    } else {
      ++report.lost;
      problem(record, absl::StrCat("lost: ", absl::StatusCodeToString(record.status.code()), ": ",
                                   record.status.message()));
    }
  }
  report.time_to_first_token = Latencies::Of(std::move(first));
  report.inter_token = Latencies::Of(std::move(gaps));
  return report;
}

bool ConversationsReport::Good() const {
  return lost == 0 && different == 0 && std::ranges::none_of(parts, [](const Aftermath& part) {
           return part.fault && part.fault->Failed();
         });
}

json ToJson(const ConversationsReport& report, const LoadOptions& options, const v1::Model& model) {
  json object = ReportFrame(options, model);
  object["seconds"] = report.seconds;
  object["conversations"] = {{"undisturbed", report.undisturbed},
                             {"resumed", report.resumed},
                             {"lost", report.lost},
                             {"different", report.different},
                             {"interrupted", report.interrupted}};
  object["tokens"] = {{"generated", report.generated_tokens}};
  object["latency_seconds"] = {{"time_to_first_token", ToJson(report.time_to_first_token)},
                               {"inter_token", ToJson(report.inter_token)}};
  object["before_faults"] = ToJson(report.parts.front());
  object["faults"] = json::array();
  for (size_t i = 1; i < report.parts.size(); ++i) {
    object["faults"].push_back(ToJson(report.parts[i]));
  }
  object["repeated_calls"] = ToJson(report.repeated);
  object["problems"] = report.problems;
  return object;
}

std::string ToText(const ConversationsReport& report, const LoadOptions& options,
                   const v1::Model& model) {
  std::string text = ServerLine(options, model);
  absl::StrAppendFormat(&text,
                        "load        %d conversations of %d turns; prompt %s, output %s; seed %d\n"
                        "ended       %d undisturbed, %d resumed, %d lost, %d different in %.2f s",
                        report.conversations, options.turns, options.prompt_lengths,
                        options.output_lengths, options.seed, report.undisturbed, report.resumed,
                        report.lost, report.different, report.seconds);
  if (report.interrupted > 0) absl::StrAppend(&text, "; ", report.interrupted, " interrupted");
  absl::StrAppend(&text, "\n", LatencyHeader(),
                  LatencyRow("time to first token", report.time_to_first_token),
                  LatencyRow("inter-token", report.inter_token));
  absl::StrAppendFormat(&text, "\n%-50s%11s%11s%10s%12s%6s%11s\n", "longest pause, and", "tokens",
                        "new ones", "by token", "by session", "lost", "different");
  for (const Aftermath& part : report.parts) absl::StrAppend(&text, Row(part));
  absl::StrAppend(&text, ToText(report.repeated, "made again: "));
  for (const std::string& problem : report.problems) absl::StrAppend(&text, problem, "\n");
  return text;
}

}  // namespace fmaserver::bench
