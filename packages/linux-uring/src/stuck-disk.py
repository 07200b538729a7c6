# For tests: runs a command that sees a file whose content does not come, on a disk (FUSE) that no signal gets through to.
#   unshare --mount python3 stuck-disk.py FOLDER SECONDS node …     FOLDER/file is 1 MiB; reads wait so long, then fail: EIO
import ctypes, os, struct, sys, threading

folder, seconds, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
fuse = os.open('/dev/fuse', os.O_RDWR | os.O_CLOEXEC)
options = f'fd={fuse},rootmode=40000,user_id=0,group_id=0'
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'stuck', folder.encode(), b'fuse', 0, options.encode()):
    sys.exit('mount: ' + os.strerror(ctypes.get_errno()))

FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # these want no answer
LOOKUP, GETATTR, OPEN, READ, RELEASE, INIT = 1, 3, 14, 15, 18, 26
EIO, ENOSYS = 5, 38
FOLDER, FILE = 1, 2  # nodes


def attributes(node):
    mode, size = (0o40755, 0) if node == FOLDER else (0o100644, 1 << 20)
    return struct.pack('<6Q10I', node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(unique, error, content=b''):
    try:
        os.write(fuse, struct.pack('<IiQ', 16 + len(content), -error, unique) + content)
    except OSError:
        pass  # interrupted meanwhile


def serve():
    while True:
        request = os.read(fuse, 1 << 18)
        _, opcode, unique, node = struct.unpack_from('<IIQQ', request)
        if opcode == INIT:
            answer(unique, 0, struct.pack('<IIIIHHIIHHI28x', 7, 31, 0, 0, 64, 48, 1 << 17, 1, 32, 0, 0))
        elif opcode == LOOKUP:
            answer(unique, 0, struct.pack('<4Q2I', FILE, 0, 9, 9, 0, 0) + attributes(FILE))
        elif opcode == GETATTR:
            answer(unique, 0, struct.pack('<Q2I', 9, 0, 0) + attributes(node))
        elif opcode == OPEN:
            answer(unique, 0, struct.pack('<Q2I', 0, 0, 0))
        elif opcode == READ:
            threading.Timer(seconds, answer, [unique, EIO]).start()
        elif opcode == RELEASE:
            answer(unique, 0)
        elif opcode not in (FORGET, INTERRUPT, BATCH_FORGET):
            answer(unique, ENOSYS)


child = os.fork()
if child == 0:
    os.execvp(command[0], command)
threading.Thread(target=serve, daemon=True).start()
_, status = os.waitpid(child, 0)
os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
