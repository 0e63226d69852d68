#include "server/rpc/import_reactor.h"

#include <utility>

#include "fma/v1/sessions.pb.h"
#include "server/rpc/begin_call.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/session_wire.h"
#include "server/rpc/status.h"

namespace fmaserver::rpc {

ImportReactor* ImportReactor::Open(service::Service& service, grpc::CallbackServerContext& context,
                                   grpc::ByteBuffer& response) {
  const std::shared_ptr<ImportReactor> self(
      new ImportReactor(context, service.policy().limits.request_bytes, response));
  self->call_ = service::Importing::Start(
      service, BeginCall(service, service::kImportSession, context), self);
  return self.get();
}

void ImportReactor::Finish(const absl::StatusOr<sessions::SessionInfo>& session) {
  if (session.ok()) response_ = SerializeMessage(ToWire(*session));
  ServerReadReactor::Finish(ToGrpcStatus(session.status()));
}

void ImportReactor::OnReadDone(bool ok) {
  if (!ok) {
    // gRPC reports both ends in this way: a complete stream, and one that broke off.
    if (context_.IsCancelled()) OnCancel();
    return call_->OnEnd();
  }
  call_->OnPiece(
      [bytes = message_, max = max_bytes_]() -> absl::StatusOr<service::Importing::Piece> {
        v1::ImportSessionRequest message;
        if (absl::Status status = ParseMessage(bytes, max, message); !status.ok()) return status;
        return service::Importing::Piece{.model = message.session().model(),
                                         .session_id = message.session().session_id(),
                                         .lifetime = LifetimeOf(message.session()),
                                         .data = std::move(*message.mutable_data())};
      });
}

void ImportReactor::OnCancel() { call_->OnCancel(deadline_.WhyCancelled()); }

}  // namespace fmaserver::rpc
