// Many long sessions at once: makes one session of --tokens tokens, imports --sessions copies of it
// into a running fma-server, then lets random ones of them answer. Reports how long each operation
// takes and, given the server's process id, how much memory the server uses.
//
//   fma-server --model models/fma-books-11m --session-dir /var/tmp/sessions --session-memory 2G &
//   many_sessions --sessions 5000 --server-pid $!
#include <grpcpp/client_context.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/load/latencies.h"
#include "clients/cpp/client.h"
#include "clients/cpp/server_options.h"

namespace fmaserver::bench {
namespace {

struct Options {
  client::ServerOptions server;
  int sessions = 100;
  int tokens = 100'000;
  int answers = 500;
  int server_pid = 0;
};

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Ends the program at the first failure.
void Check(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "many_sessions: %s: %s\n", what, std::string(status.message()).c_str());
  std::exit(EXIT_FAILURE);
}

template <class Message>
Message Require(absl::StatusOr<Message> message, const char* what) {
  Check(message.status(), what);
  return *std::move(message);
}

void PrintTimes(const char* what, std::vector<double> seconds) {
  const Latencies times = Latencies::Of(std::move(seconds));
  std::printf("%-8s %6zu times   median %8.2f ms   p99 %8.2f ms   worst %8.2f ms\n", what,
              times.count, times.p50 * 1e3, times.p99 * 1e3, times.max * 1e3);
}

int64_t ResidentKibibytes(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmRSS:")) return std::atoll(line.c_str() + 6);
  }
  return 0;
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), client_(client::MakeClient(options.server)) {}

  void Run() {
    const std::string blob = Export(MakeLongSession());
    std::printf("one session of %d tokens: %.2f MiB as a blob\n", options_.tokens,
                static_cast<double>(blob.size()) / (1 << 20));
    std::vector<std::string> ids;
    std::vector<double> imports;
    for (int i = 0; i < options_.sessions; ++i) {
      const auto begin = Clock::now();
      ids.push_back(Import(blob));
      imports.push_back(SecondsSince(begin));
      if (i % 50 == 0) std::fprintf(stderr, "\rimported %d of %d ", i, options_.sessions);
    }
    std::fprintf(stderr, "\n");
    PrintTimes("import", std::move(imports));
    PrintResident();
    std::mt19937 random(1);
    std::vector<double> answers;
    std::vector<double> forks;
    for (int i = 0; i < options_.answers; ++i) {
      const std::string& id = ids[random() % ids.size()];
      answers.push_back(Answer(id));
      forks.push_back(ForkAndDelete(id));
    }
    PrintTimes("answer", std::move(answers));
    PrintTimes("fork", std::move(forks));
    PrintResident();
  }

 private:
  std::string MakeLongSession() {
    grpc::ClientContext context;
    const v1::Session session = Require(client_.CreateSession(context, {}), "create");
    v1::GenerateRequest request;
    request.set_session_id(session.session_id());
    request.set_max_tokens(0);
    std::mt19937 random(1);
    for (int i = 0; i < options_.tokens; ++i) {
      request.mutable_token_ids()->add_ids(5 + random() % 200);
    }
    const auto begin = Clock::now();
    Generate(request);
    std::printf("read %d tokens in %.1f s\n", options_.tokens, SecondsSince(begin));
    return session.session_id();
  }

  /// Returns seconds to the first token.
  double Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto begin = Clock::now();
    double first_token = 0;
    const auto note = [&](const v1::GenerateResponse& response) {
      if (response.has_progress()) {
        std::fprintf(stderr, "\rread %lu tokens ", response.progress().processed_tokens());
      }
      if (response.has_delta() && first_token == 0) first_token = SecondsSince(begin);
    };
    Check(client_.Generate(context, request, note), "generate");
    return first_token;
  }

  double Answer(const std::string& id) {
    v1::GenerateRequest request;
    request.set_session_id(id);
    request.mutable_token_ids()->add_ids(10);
    request.set_max_tokens(4);
    request.set_ignore_eos(true);
    return Generate(request);
  }

  double ForkAndDelete(const std::string& id) {
    grpc::ClientContext context;
    v1::ForkSessionRequest request;
    request.set_session_id(id);
    const auto begin = Clock::now();
    const v1::ForkSessionResponse response = Require(client_.ForkSession(context, request), "fork");
    const double seconds = SecondsSince(begin);
    grpc::ClientContext deletion;
    v1::DeleteSessionRequest child;
    child.set_session_id(response.children(0).session_id());
    Check(client_.DeleteSession(deletion, child), "delete");
    return seconds;
  }

  std::string Export(const std::string& id) {
    grpc::ClientContext context;
    v1::ExportSessionRequest request;
    request.set_session_id(id);
    request.set_head_only(true);
    std::string blob;
    const auto append = [&](const v1::ExportSessionResponse& piece) { blob += piece.data(); };
    Check(client_.ExportSession(context, request, append), "export");
    return blob;
  }

  std::string Import(const std::string& blob) {
    constexpr size_t kPiece = size_t{1} << 20;
    grpc::ClientContext context;
    size_t begin = 0;
    const auto next = [&](std::string& piece) {
      if (begin >= blob.size()) return false;
      piece = blob.substr(begin, kPiece);
      begin += kPiece;
      return true;
    };
    return Require(client_.ImportSession(context, {}, next), "import").session_id();
  }

  void PrintResident() const {
    if (options_.server_pid == 0) return;
    std::printf("server: %.2f GiB resident\n",
                static_cast<double>(ResidentKibibytes(options_.server_pid)) / (1 << 20));
  }

  const Options options_;
  client::Client client_;
};

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  fmaserver::bench::Options options;
  CLI::App app("many_sessions - many long sessions in one fma-server");
  app.option_defaults()->always_capture_default();
  fmaserver::client::AddServerOptions(app, options.server);
  app.add_option("--sessions", options.sessions, "Copies to import")->check(CLI::Range(1, 1000000));
  app.add_option("--tokens", options.tokens, "Tokens of each")->check(CLI::Range(2, 5000000));
  app.add_option("--answers", options.answers, "Random ones that answer")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--server-pid", options.server_pid, "Report this process's memory");
  CLI11_PARSE(app, argc, argv);
  fmaserver::bench::Bench(options).Run();
  return EXIT_SUCCESS;
}
