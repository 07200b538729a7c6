# For tests: runs a command that sees files whose content does not come, on a disk (FUSE) that no signal gets through to.
#   unshare --mount python3 stuck-disk.py FOLDER SECONDS node …
# FOLDER/file is 1 MiB. Reads and writes wait so long, or for a SIGUSR1 to this process, then fail: EIO. So does the open of
# FOLDER/open and the fstat of FOLDER/fstat. Whether it knows of poll, the disk says as late, once: no.
import ctypes, os, signal, struct, sys, threading

folder, seconds, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
fuse = os.open('/dev/fuse', os.O_RDWR | os.O_CLOEXEC)
options = f'fd={fuse},rootmode=40000,user_id=0,group_id=0'
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'stuck', folder.encode(), b'fuse', 0, options.encode()):
    sys.exit('mount: ' + os.strerror(ctypes.get_errno()))

FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # these want no answer
LOOKUP, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, INIT, POLL = 1, 3, 4, 14, 15, 16, 18, 26, 40
ENOENT, EIO, ENOSYS = 2, 5, 38
FOLDER = 1  # nodes
FILES = {b'file': 2, b'open': 3, b'fstat': 4}
WAIT = [(OPEN, FILES[b'open']), (GETATTR, FILES[b'fstat'])]


def attributes(node):
    mode, size = (0o40755, 0) if node == FOLDER else (0o100644, 1 << 20)
    return struct.pack('<6Q10I', node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(unique, error, content=b''):
    try:
        os.write(fuse, struct.pack('<IiQ', 16 + len(content), -error, unique) + content)
    except OSError:
        pass  # interrupted meanwhile


def answer_late(unique, error):
    released.wait(seconds)
    answer(unique, error)


def serve():
    while True:
        request = os.read(fuse, 1 << 18)
        _, opcode, unique, node = struct.unpack_from('<IIQQ', request)
        if opcode == INIT:
            answer(unique, 0, struct.pack('<IIIIHHIIHHI28x', 7, 31, 0, 0, 64, 48, 1 << 17, 1, 32, 0, 0))
        elif opcode == LOOKUP:
            found = FILES.get(request[40:].rstrip(b'\0'))
            if found is None:
                answer(unique, ENOENT)
            else:  # the kernel may keep the name for 9 s, the attributes too unless it is to ask for them
                fresh = 0 if found == FILES[b'fstat'] else 9
                answer(unique, 0, struct.pack('<4Q2I', found, 0, 9, fresh, 0, 0) + attributes(found))
        elif opcode in (READ, WRITE, POLL) or (opcode, node) in WAIT:
            threading.Thread(target=answer_late, args=[unique, ENOSYS if opcode == POLL else EIO]).start()
        elif opcode in (GETATTR, SETATTR):
            answer(unique, 0, struct.pack('<Q2I', 9, 0, 0) + attributes(node))
        elif opcode == OPEN:
            answer(unique, 0, struct.pack('<Q2I', 0, 0, 0))
        elif opcode == RELEASE:
            answer(unique, 0)
        elif opcode not in (FORGET, INTERRUPT, BATCH_FORGET):
            answer(unique, ENOSYS)


released = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: released.set())
child = os.fork()
if child == 0:
    os.execvp(command[0], command)
threading.Thread(target=serve, daemon=True).start()
_, status = os.waitpid(child, 0)
os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
