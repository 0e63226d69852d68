#include "server/service/generation.h"

#include <iterator>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"
#include "server/service/session_calls.h"
#include "server/service/turn_record.h"

namespace fmaserver::service {

using engine::Rejection;

std::shared_ptr<Generation> Generation::Start(Service& service,
                                              const absl::StatusOr<models::ModelPtr>& model,
                                              std::shared_ptr<Call> call,
                                              std::shared_ptr<Wire> wire, size_t bytes,
                                              Parse parse) {
  std::shared_ptr<Generation> generation(new Generation(service, std::move(call), std::move(wire)));
  generation->Read(model, bytes, [generation, parse = std::move(parse)](const auto& served) {
    if (!generation->closed()) generation->Run(served, parse());
  });
  return generation;
}

void Generation::Run(const models::ModelPtr& model, absl::StatusOr<GenerateRequest> request) {
  if (!request.ok()) return Refuse(model, request.status(), Rejection::kInvalid);
  KeepPrompt(request->prompt);
  const std::string& tenant = call().tenant();
  const Vocabulary vocabulary = VocabularyOf(*model);
  if (!request->resume_token.empty()) {
    return StartTurn(
        model,
        [this, model, vocabulary, token = request->resume_token] {
          return TurnRunner::Resume(model, call().tenant(), token, vocabulary, call().limits());
        },
        Workers::kSmallBytes);
  }
  const sessions::SessionName session{.tenant = tenant, .id = request->session_id};
  const SessionEnds ends = request->session_ends;
  const bool has_turn = request->has_turn();
  branch_ = request->branch;
  if (CallTrace* trace = call().trace()) trace->session = branch_ ? branch_->child : session.id;
  std::string record = session.id.empty() ? std::string() : EncodeTurn(*request);
  Conversation messages;
  if (has_turn) messages = request->prompt.messages.value_or(Conversation());
  auto ready = ForEngine(*std::move(request), tenant, vocabulary, call().limits());
  if (!ready.ok()) return Refuse(model, ready.status(), Rejection::kInvalid);
  if (!has_turn) return SubmitAlone(model, *std::move(ready));
  const auto bytes = static_cast<int64_t>(
      Workers::kSmallBytes + ready->prompt.size() * sizeof(int32_t) + BytesOf(messages));
  const bool brings_tokens = !ready->prompt.empty() || !messages.empty();
  StartTurn(
      model,
      [=, this, ready = *std::move(ready), record = std::move(record)]() mutable {
        if (branch_) return TurnRunner::Branch(model, call(), *branch_, std::move(ready));
        return BeginTurn(model, session, ends, std::move(ready), std::move(record), brings_tokens);
      },
      bytes, std::move(messages));
}

absl::StatusOr<std::unique_ptr<TurnRunner>> Generation::BeginTurn(
    const models::ModelPtr& model, const sessions::SessionName& session, SessionEnds ends,
    engine::GenerateRequest request, std::string record, bool brings_tokens) {
  SessionCalls sessions(model->sessions(), call());
  absl::Status status;
  if (ends.first) status = sessions.Create(session.id, {}).status();
  if (!status.ok()) return status;
  auto turn =
      TurnRunner::Begin(model, session, std::move(request), std::move(record), brings_tokens, ends);
  if (!turn.ok() && ends.first) sessions.Delete(session.id).IgnoreError();
  return turn;
}

void Generation::KeepPrompt(const Input& prompt) {
  if (!call().keeps_prompts()) return;
  if (prompt.text.has_value()) call().KeepPrompt(*prompt.text);
  if (prompt.messages.has_value()) call().KeepPrompt(Transcript(*prompt.messages));
}

void Generation::StartTurn(const models::ModelPtr& model,
                           std::function<absl::StatusOr<std::unique_ptr<TurnRunner>>()> begin,
                           int64_t bytes, Conversation messages) {
  const absl::Status status = service().disk().Start(
      [self = shared_from_this(), model, begin = std::move(begin),
       messages = std::move(messages)]() mutable {
        if (self->closed()) return;
        const PartWatch watch(self->call().trace());
        auto turn = begin();
        const bool from_store = turn.ok() && (*turn)->from_store();
        watch.End(kRestorePart, turn.status().code(), from_store ? kInStore : kInMemory);
        if (!turn.ok()) return self->Refuse(model, turn.status(), Rejection::kSession);
        self->turn_ = *std::move(turn);
        if (!messages.empty()) return self->ReadMessages(model, std::move(messages));
        self->Submit(model, self->turn_->TakeRequest());
      },
      bytes);
  if (!status.ok()) Refuse(model, status, Rejection::kQueueFull);
}

void Generation::ReadMessages(const models::ModelPtr& model, Conversation messages) {
  const size_t bytes = BytesOf(messages);
  const absl::Status status =
      service().Read(bytes, [self = shared_from_this(), model, messages = std::move(messages)] {
        auto prompt = ChatTokens(messages, VocabularyOf(*model), self->call().limits(),
                                 self->turn_->before());
        // The end of a turn may wait for the disk, and so may the end of a refused one.
        self->service().disk().Continue([self, model, prompt = std::move(prompt)]() mutable {
          self->SubmitTurn(model, std::move(prompt));
        });
      });
  if (!status.ok()) SubmitTurn(model, status);
}

void Generation::SubmitTurn(const models::ModelPtr& model,
                            absl::StatusOr<std::vector<int32_t>> prompt) {
  if (prompt.ok()) {
    turn_->AddPrompt(*prompt);
    return Submit(model, turn_->TakeRequest());
  }
  turn_.reset();
  const bool full = absl::IsResourceExhausted(prompt.status());
  Refuse(model, prompt.status(), full ? Rejection::kQueueFull : Rejection::kInvalid);
}

void Generation::SubmitAlone(const models::ModelPtr& model, engine::GenerateRequest request) {
  const size_t tokens = request.prompt.size();
  const absl::Status status =
      service().Submit(model->engine(), tokens,
                       [self = shared_from_this(), model, request = std::move(request)]() mutable {
                         if (!self->closed()) self->Submit(model, std::move(request));
                       });
  if (!status.ok()) Refuse(model, status, Rejection::kQueueFull);
}

void Generation::Submit(const models::ModelPtr& model, engine::GenerateRequest request) {
  // Again, because now there is also what the session has not read yet.
  if (absl::Status status = CheckShare(request, call().limits()); !status.ok()) {
    turn_.reset();
    return Refuse(model, status, Rejection::kInvalid);
  }
  unfinished_ = request.n;
  if (CallTrace* trace = call().trace()) trace->request = ToTrace(request);
  // The session's own tokens were charged in earlier turns.
  call().ChargePrompt(std::ssize(request.prompt) - request.pending);
  const auto id = model->engine().Submit(std::move(request), shared_from_this());
  if (id.ok()) return Started(*id);
  // Before the refusal is sent, so that a client that tries again at once finds the session free.
  turn_.reset();
  Close(id.status());
}

void Generation::OnPromptProgress(const engine::PromptProgress& progress) {
  // A prompt that took a single step has nothing to report.
  if (!progress_sent_ && progress.processed_tokens == progress.total_tokens) return;
  progress_sent_ = true;
  Send(progress);
}

void Generation::OnPrompt(std::vector<engine::TokenScore> tokens) {
  for (auto& piece : InPieces(std::move(tokens))) Send(PromptTokens{std::move(piece)});
}

void Generation::OnDelta(engine::Delta delta) {
  call().ChargeGenerated(std::ssize(delta.tokens));
  if (branch_) Collect(delta);
  Send(std::move(delta));
}

void Generation::Collect(const engine::Delta& delta) {
  answered_.text += delta.text;
  answered_.output_tokens += std::ssize(delta.tokens);
  const size_t most = call().limits().answer_bytes;
  if (answered_.text.size() <= most) return;
  Abandon(Refusal("answer", Words{Concat("more than ", most, " bytes")}, "less"));
}

void Generation::OnState(engine::State state) { turn_->AddPoint(std::move(state)); }

void Generation::OnFinish(engine::Finished finish) {
  call().SetUsage(finish.usage);
  if (CallTrace* trace = call().trace()) trace->finish_reasons.push_back(finish.reason);
  if (turn_ != nullptr) {
    service().disk().Continue([self = shared_from_this(), finish = std::move(finish)]() mutable {
      self->branch_ ? self->CommitBranch(std::move(finish)) : self->CommitTurn(std::move(finish));
    });
    return;
  }
  Send(GenerationFinished{.end = std::move(finish)});
  if (--unfinished_ == 0) Close(absl::OkStatus());
}

absl::StatusOr<SessionAfter> Generation::Save(TurnRunner& turn, engine::Kept kept,
                                              std::string note) {
  const PartWatch watch(call().trace());
  auto session = turn.Commit(std::move(kept), std::move(note));
  const bool durable = session.ok() && session->durable;
  watch.End(kSavePart, session.status().code(), durable ? kInStore : kInMemory);
  return session;
}

// The finish is sent only after the session has taken the turn.
void Generation::CommitTurn(engine::Finished finish) {
  const auto session = Save(*turn_, std::exchange(finish.kept, {}));
  turn_.reset();
  if (!session.ok()) return Close(session.status());
  Send(GenerationFinished{std::move(finish), *session});
  Close(absl::OkStatus());
}

// Nobody knows the child of a reader that has left.
void Generation::CommitBranch(engine::Finished finish) {
  const auto turn = std::exchange(turn_, nullptr);
  answered_.text += finish.text;
  answered_.reason = finish.reason;
  answered_.input_tokens = turn->input_tokens();
  answered_.cached_tokens = turn->cached_tokens(finish.usage);
  engine::Kept kept = std::exchange(finish.kept, {});
  GenerationFinished event{.end = std::move(finish), .answered = std::move(answered_)};
  const bool keeps = !branch_->child.empty();
  std::string note = keeps ? branch_->note(*event.answered) : std::string();
  if (closed()) return;
  if (keeps) {
    auto session = Save(*turn, std::move(kept), std::move(note));
    if (!session.ok()) return Close(session.status());
    event.session = *std::move(session);
  }
  Send(std::move(event));
  Close(absl::OkStatus());
}

void Generation::OnInterrupted(engine::Kept kept, uint64_t seed, const engine::Usage& usage) {
  call().SetUsage(usage);
  service().disk().Continue([self = shared_from_this(), kept = std::move(kept), seed]() mutable {
    self->InterruptTurn(std::move(kept), seed);
  });
}

void Generation::InterruptTurn(engine::Kept kept, uint64_t seed) {
  if (branch_) {
    turn_.reset();
    return Close(absl::UnavailableError("the server shuts down; ask again elsewhere"));
  }
  const PartWatch watch(call().trace());
  const auto token = turn_->Interrupt(std::move(kept), seed);
  watch.End(kSavePart, token.status().code(), kInStore);
  turn_.reset();
  if (!token.ok()) return Close(token.status());
  Send(GenerationInterrupted{*token});
  Close(absl::UnavailableError("the server shuts down; go on elsewhere with the resume token"));
}

void Generation::OnError(const absl::Status& status, const engine::Usage& usage) {
  call().SetUsage(usage);
  if (turn_ == nullptr) return Abandon(status);
  // The end of a turn may wait for the disk.
  service().disk().Continue([self = shared_from_this(), status] {
    self->turn_.reset();
    self->Abandon(status);
  });
}

}  // namespace fmaserver::service
