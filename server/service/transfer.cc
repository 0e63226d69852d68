#include "server/service/transfer.h"

#include <utility>

#include "base/refusal.h"
#include "server/service/session_calls.h"

namespace fmaserver::service {

std::shared_ptr<Exporting> Exporting::Start(Service& service, std::shared_ptr<Call> call,
                                            std::shared_ptr<Wire> wire, const Parse& parse) {
  std::shared_ptr<Exporting> self(new Exporting(service, std::move(call), std::move(wire)));
  absl::Status status = self->call_->admission();
  if (status.ok()) {
    status = service.disk().Start([self, parse] {
      if (absl::Status opened = self->Open(parse()); !opened.ok()) return self->End(opened);
      self->WriteNext();
    });
  }
  if (!status.ok()) self->End(status);
  return self;
}

absl::Status Exporting::Open(const absl::StatusOr<Request>& request) {
  if (!request.ok()) return request.status();
  auto model = service_.Find(request->model, *call_);
  if (!model.ok()) return model.status();
  model_ = *std::move(model);
  auto blob =
      SessionCalls(model_->sessions(), *call_).Export(request->session_id, request->head_only);
  if (!blob.ok()) return blob.status();
  blob_ = *std::move(blob);
  return absl::OkStatus();
}

void Exporting::WriteNext() {
  const absl::StatusOr<std::string> piece = blob_->Next(kPieceBytes);
  if (!piece.ok() || piece->empty()) return End(piece.status());
  wire_->Write(*piece);
}

void Exporting::OnWritten(const absl::Status& status) {
  if (!status.ok()) return End(status);
  service_.disk().Continue([self = shared_from_this()] { self->WriteNext(); });
}

void Exporting::End(const absl::Status& status) {
  blob_.reset();
  model_.reset();
  call_->SetStatus(status);
  wire_->Finish(status);
}

std::shared_ptr<Importing> Importing::Start(Service& service, std::shared_ptr<Call> call,
                                            std::shared_ptr<ImportWire> wire) {
  std::shared_ptr<Importing> self(new Importing(service, std::move(call), std::move(wire)));
  if (self->call_->admission().ok()) {
    self->wire_->Read();
  } else {
    self->End(self->call_->admission());
  }
  return self;
}

void Importing::OnPiece(Parse parse) {
  auto take = [self = shared_from_this(), parse = std::move(parse)] {
    if (absl::Status status = self->Take(parse()); !status.ok()) return self->End(status);
    self->wire_->Read();
  };
  if (import_ != nullptr) return service_.disk().Continue(std::move(take));
  if (absl::Status status = service_.disk().Start(std::move(take)); !status.ok()) End(status);
}

void Importing::OnEnd() {
  service_.disk().Continue([self = shared_from_this()] { self->End(self->Complete()); });
}

void Importing::OnCancel(const absl::Status& why) {
  const std::lock_guard lock(mutex_);
  cancelled_.Update(why);
}

absl::Status Importing::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

absl::Status Importing::Take(const absl::StatusOr<Piece>& piece) {
  if (!piece.ok()) return piece.status();
  if (import_ == nullptr) {
    auto model = service_.Find(piece->model, *call_);
    if (!model.ok()) return model.status();
    model_ = *std::move(model);
    auto import =
        SessionCalls(model_->sessions(), *call_).Import(piece->session_id, piece->lifetime);
    if (!import.ok()) return import.status();
    import_ = *std::move(import);
  }
  return import_->Write(piece->data);
}

absl::StatusOr<sessions::SessionInfo> Importing::Complete() {
  if (absl::Status status = cancelled(); !status.ok()) return status;
  if (import_ == nullptr) {
    return Refusal("data", Words{"missing"}, "the blob of an Export call");
  }
  absl::StatusOr<sessions::SessionInfo> session = import_->Finish();
  const absl::Status status = cancelled();
  if (status.ok() || !session.ok()) return session;
  // The sender left in the middle and will never know what the session is called.
  SessionCalls(model_->sessions(), *call_).Delete(session->id).IgnoreError();
  return status;
}

void Importing::End(const absl::StatusOr<sessions::SessionInfo>& session) {
  import_.reset();
  model_.reset();
  call_->SetStatus(session.status());
  wire_->Finish(session);
}

}  // namespace fmaserver::service
