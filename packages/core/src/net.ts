import './default-scheduler.ts' // a bare priority goes on at that priority

/** The socket personality: TCP, Unix-domain and UDP. */
export * from '@kiruna/net-socket'
